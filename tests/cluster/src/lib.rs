//! Real Kubernetes on this machine, of programs built from their public Go modules: a control plane on
//! ports of the loopback, or a whole cluster with nodes of namespaces.
//!
//! Owns how it is built, started, asked and broken. Of the agent it knows the files with which it is
//! installed, and nothing else.

mod api;
mod binary;
mod cgroup;
mod cluster;
mod control_plane;
mod demo;
mod e2e;
mod etcd;
mod forward;
mod images;
mod init;
mod network;
mod node;
mod packages;
mod pods;
mod process;

pub use api::Api;
pub use binary::{agnhost, cache, kube};
pub use cluster::{Cluster, deployment};
pub use control_plane::ControlPlane;
pub use demo::tell;
pub use e2e::run_upstream;
pub use etcd::Etcd;
pub use forward::forward;
pub use images::AGNHOST;
pub use init::run as init;
pub use node::{Node, become_node};
pub use pods::{Pod, matrix, target};
pub use process::interrupt;
