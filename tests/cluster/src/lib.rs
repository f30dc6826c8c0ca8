//! A real Kubernetes control plane on this machine: etcd and kube-apiserver of one program, built
//! from their public Go modules, on ports of the loopback.
//!
//! Owns how it is built, started, asked and broken; knows nothing of the agent. Nobody schedules or
//! runs a pod, and nothing but the server itself makes objects.

mod api;
mod binary;
mod control_plane;
mod etcd;
mod process;

pub use api::Api;
pub use binary::{cache, control_plane as build};
pub use control_plane::ControlPlane;
pub use etcd::Etcd;
