//! What this machine's network looks like, told by netlink from the host's namespace.
//!
//! Owns: which interfaces there are, which of them lead into another network namespace and which
//! addresses are seen there, the host's own addresses, the ports of its tunnels, and who stands in
//! an interface's chain of TC programs. Must not know: pods, policies, maps.
//!
//! Invariant: nothing that a pod writes into its namespace changes which interface is which; its
//! addresses are passed on for finding the pod and for nothing else. No namespace is entered.
//!
//! Everything works on the network namespace of the thread that opens it, so that tests can give
//! it a host of their own.

mod error;
mod event;
mod link;
mod message;
mod namespace;
mod socket;
pub mod tc;
mod tunnel;
mod view;
mod watch;

pub use self::{
    error::NodeError,
    event::{Interface, NodeEvent, Sandbox},
    link::InterfaceKind,
    namespace::NetnsKey,
    watch::{Options, Watcher},
};
