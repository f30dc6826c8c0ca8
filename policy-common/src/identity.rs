//! Numbers of identities, rulesets and port sets: local to the node, never coordinated.

use bytemuck::{Pod, Zeroable};

/// A set of active predicates that holds for an address.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct IdentityId(pub u32);

impl IdentityId {
    /// An address for which no active predicate holds.
    pub const WORLD: Self = Self(0);
    /// This host: by origin on ingress, by address on egress.
    pub const HOST: Self = Self(1);
    /// The endpoint itself.
    pub const SELF: Self = Self(2);
    /// Whoever stands behind a Service's address: nobody knows before the packet is translated, so that the
    /// real one is judged afterwards. Differs from `HOST` in one bit.
    pub const SERVICE: Self = Self(3);
    /// First number that is not reserved.
    pub const FIRST: Self = Self(16);
}

/// The final verdicts of one direction for one set of policies.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct RulesetId(pub u32);

impl RulesetId {
    /// No ruleset: the direction is not isolated.
    pub const NONE: Self = Self(0);
    /// First number that is not reserved.
    pub const FIRST: Self = Self(1);
}

/// A set of (protocol, port prefix) with verdicts; equal sets share a number.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct PortSetId(pub u32);

impl PortSetId {
    /// Built in: denies everything.
    pub const DENY_ALL: Self = Self(0);
    /// Built in: allows everything.
    pub const ALLOW_ALL: Self = Self(1);
    /// First number that is not reserved.
    pub const FIRST: Self = Self(2);
}
