//! What one run of a program judged: mostly one endpoint's direction, but a packet between two pods of
//! this node concerns both.
//!
//! Invariant: one judgement that drops is enough to drop the packet; each is counted and reported as its
//! own endpoint's.

use policy_common::{Direction, Endpoint, EndpointId, RulesetId};

use crate::decision::Decision;

/// One decision, and about whom.
#[derive(Clone, Copy)]
pub struct Judgement<'a> {
    /// The endpoint that was judged; nothing where ENDPOINTS has none for the interface.
    pub endpoint: Option<&'a Endpoint>,
    /// Which of its directions.
    pub direction: Direction,
    /// What came of it.
    pub decision: Decision,
}

impl Judgement<'_> {
    /// Number of the endpoint, [`EndpointId::NONE`] where there is none.
    #[inline(always)]
    pub fn id(&self) -> EndpointId {
        self.endpoint
            .map_or(EndpointId::NONE, |endpoint| endpoint.id)
    }

    /// The ruleset that decides about the direction.
    #[inline(always)]
    pub fn ruleset(&self) -> RulesetId {
        self.endpoint
            .map_or(RulesetId::NONE, |endpoint| match self.direction {
                Direction::Ingress => endpoint.ingress.ruleset,
                Direction::Egress => endpoint.egress.ruleset,
            })
    }

    /// The epoch under which it was judged.
    #[inline(always)]
    pub fn epoch(&self) -> u32 {
        self.endpoint.map_or(0, |endpoint| endpoint.epoch)
    }
}
