//! Enforces Kubernetes NetworkPolicy on this node.

pub mod cli;
pub mod convert;
pub mod lint;
pub mod node;
pub mod source;
