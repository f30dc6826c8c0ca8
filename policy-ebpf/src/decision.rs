//! What becomes of a packet, and why.

use policy_common::{IdentityId, Reason, RulesetId};

use crate::{packet::ParseError, rules::Answer};

/// The fate of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    /// Why; whether the packet is dropped follows from it.
    pub reason: Reason,
    /// The peer's identity, where rules were asked.
    pub identity: IdentityId,
    /// The ruleset that was asked, [`RulesetId::NONE`] where none was.
    pub ruleset: RulesetId,
}

impl Decision {
    /// For a reason that needs no rule.
    #[inline(always)]
    pub const fn of(reason: Reason) -> Self {
        Self {
            reason,
            identity: IdentityId::WORLD,
            ruleset: RulesetId::NONE,
        }
    }

    /// For a reason that rules gave.
    #[inline(always)]
    pub const fn ruled(reason: Reason, answer: &Answer) -> Self {
        Self {
            reason,
            identity: answer.identity,
            ruleset: answer.ruleset,
        }
    }

    /// Whether the packet is dropped.
    #[inline(always)]
    pub const fn drops(&self) -> bool {
        self.reason.is_drop()
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
