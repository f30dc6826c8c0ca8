//! A question to the rules and its answer, as they are asked, remembered and compared.

use policy_common::{Direction, EndpointId, IdentityId, Verdict};

use crate::port::Port;

/// What is asked of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<F> {
    /// Whose rules.
    pub endpoint: EndpointId,
    /// The direction in which the connection is opened.
    pub direction: Direction,
    /// IP protocol number.
    pub protocol: u8,
    /// The port that the rules judge.
    pub port: Port,
    /// The other end.
    pub peer: F,
}

/// The answer of the rules, in one word as [`crate::Decision`] – bits 0: verdict, 32: identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Answer(pub u64);

impl Answer {
    /// What rules say of a peer.
    #[inline(always)]
    pub const fn new(verdict: Verdict, identity: IdentityId) -> Self {
        Self(verdict.0 as u64 | (identity.0 as u64) << 32)
    }

    /// The same about one behind whose address another may stand.
    #[inline(always)]
    pub const fn owed(self) -> Self {
        if self.verdict().allows() {
            Self(self.0 | Verdict::OWED as u64)
        } else {
            self
        }
    }

    /// What they say.
    #[inline(always)]
    pub const fn verdict(self) -> Verdict {
        Verdict(self.0 as u8)
    }

    /// The peer's identity.
    #[inline(always)]
    pub const fn identity(self) -> IdentityId {
        IdentityId((self.0 >> 32) as u32)
    }
}
