//! What this machine's network looks like, told by netlink from the host's namespace.
//!
//! Owns: which interfaces there are, which of them lead into another network namespace and which
//! addresses are seen there, the host's own addresses, and the ports of its tunnels. Must not know:
//! pods, policies, maps, programs.
//!
//! Invariant: nothing that a pod writes into its namespace changes which interface is which; its
//! addresses are passed on for finding the pod and for nothing else. No namespace is entered.
//!
//! Everything works on the network namespace of the thread that opens it, so that tests can give
//! it a host of their own.

mod event;
mod link;
mod namespace;
mod routes;
mod tunnel;
mod view;
mod watch;

use crate::netlink::{message, socket};

pub use self::{
    event::{Interface, NodeEvent, Sandbox},
    link::InterfaceKind,
    namespace::NetnsKey,
    watch::{Options, Watcher},
};
pub use crate::netlink::NetlinkError as NodeError;
