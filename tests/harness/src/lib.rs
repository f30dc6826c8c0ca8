//! Real networks on one machine: namespaces, nodes with pods, packets and connections.
//!
//! Everything happens between network namespaces that the harness makes and removes; nothing is
//! attached or configured in the machine's own. Needs root; without it the first namespace fails.

pub mod agent;
pub mod cluster;
pub mod foreign;
pub mod netns;
pub mod topology;
pub mod tracked;
pub mod traffic;
pub mod wire;

pub use self::{
    agent::Attach,
    cluster::Cluster,
    foreign::Foreign,
    netns::Netns,
    topology::{Node, Pod, Wiring},
    tracked::{Tracked, tracked},
};
