//! Enforces Kubernetes NetworkPolicy on this node.
pub mod convert;
pub mod source;
