//! Enforces Kubernetes NetworkPolicy on this node.
//!
//! Facts come in through sources (a directory of manifests) and from the node itself (interfaces,
//! addresses); `policy-core` turns them into tables; [`datapath`] makes the kernel's maps equal to
//! those tables. [`agent`] is where they meet.

pub mod agent;
pub mod ask;
mod capabilities;
pub mod cli;
pub mod control;
pub mod convert;
pub mod datapath;
pub mod lint;
pub mod netlink;
pub mod netns;
pub mod node;
pub mod source;
pub mod telemetry;
mod text;
