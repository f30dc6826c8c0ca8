//! ENDPOINTS as written, and which policies made it so.
//!
//! Invariant: a direction is isolated if and only if policies are named for it.

use std::sync::Arc;

use policy_common::RulesetId;

use crate::{model::ObjectName, plan::EndpointEntry};

/// What isolates an endpoint in one direction.
#[derive(Clone, Debug)]
pub(crate) struct Isolation {
    pub(crate) ruleset: RulesetId,
    /// The policies behind the ruleset, by name; never none.
    pub(crate) policies: Arc<[ObjectName]>,
}

/// What ENDPOINTS says of an interface, and why.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) entry: EndpointEntry,
    pub(crate) ingress: Option<Isolation>,
    pub(crate) egress: Option<Isolation>,
}
