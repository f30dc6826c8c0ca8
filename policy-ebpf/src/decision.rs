//! What becomes of a packet, and why.

use policy_common::{IdentityId, Reason, Verdict};

use crate::{packet::ParseError, question::Answer};

/// The fate of one packet, in one word – bits 0: reason, 8: what the rules said, 32: identity –, because
/// functions of BPF programs return scalars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[repr(transparent)]
pub struct Decision(pub u64);

impl Decision {
    /// For a reason that needs no rule.
    #[inline(always)]
    pub const fn of(reason: Reason) -> Self {
        Self::about(reason, IdentityId::WORLD)
    }

    /// For a reason about a peer.
    #[inline(always)]
    pub const fn about(reason: Reason, identity: IdentityId) -> Self {
        Self(reason as u64 | (identity.0 as u64) << 32)
    }

    /// For a flow that may.
    #[inline(always)]
    pub const fn by_flow(verdict: Verdict) -> Self {
        Self(Reason::Flow as u64 | (verdict.0 as u64) << 8)
    }

    /// For a reason that rules gave: with their verdict and the peer.
    #[inline(always)]
    pub const fn by_rules(reason: Reason, answer: Answer) -> Self {
        Self(reason as u64 | (answer.verdict().0 as u64) << 8 | (answer.identity().0 as u64) << 32)
    }

    /// The same, while egress is still to be judged at the pod that the packet reaches.
    #[inline(always)]
    pub const fn owed(self) -> Self {
        Self(self.0 | (Verdict::OWED as u64) << 8)
    }

    /// Whether egress is still to be judged at the pod that the packet reaches.
    #[inline(always)]
    pub const fn is_owed(&self) -> bool {
        self.verdict().is_owed()
    }

    /// Whether the packet is dropped.
    #[inline(always)]
    pub const fn drops(&self) -> bool {
        self.reason_number() >= Reason::FIRST_DROP
    }

    /// Number of the reason.
    #[inline(always)]
    pub const fn reason_number(&self) -> u8 {
        self.0 as u8
    }

    /// The reason.
    pub const fn reason(&self) -> Option<Reason> {
        Reason::from_u8(self.reason_number())
    }

    /// What the rules said, where they gave the reason; a deny elsewhere.
    #[inline(always)]
    pub const fn verdict(&self) -> Verdict {
        Verdict((self.0 >> 8) as u8)
    }

    /// The peer's identity, where rules were asked.
    #[inline(always)]
    pub const fn identity(&self) -> IdentityId {
        IdentityId((self.0 >> 32) as u32)
    }
}

impl From<ParseError> for Decision {
    #[inline(always)]
    fn from(error: ParseError) -> Self {
        Self::of(match error {
            ParseError::Malformed => Reason::Malformed,
            ParseError::ExtensionHeaders => Reason::ExtensionHeaders,
            ParseError::RoutingHeader => Reason::RoutingHeader,
        })
    }
}
