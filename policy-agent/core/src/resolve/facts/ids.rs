//! Numbers of facts, inside the resolver only. They have a file of their own because records name
//! each other by them.

/// Number of an address.
pub(crate) type AddressId = u32;

/// Number of a group.
pub(crate) type GroupId = u32;

/// Number of a pod.
pub(crate) type PodId = u32;

/// Number of a scope: namespaces that terms name together.
pub(crate) type ScopeId = usize;
