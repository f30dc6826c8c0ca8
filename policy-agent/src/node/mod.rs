//! What this machine's network looks like, told by netlink from the host's namespace.
//!
//! Owns: which interfaces there are, which of them lead into another network namespace and which
//! addresses are seen there, the host's own addresses, and the ports of its tunnels. Must not know:
//! pods, policies, maps, programs.
//!
//! Invariant: nothing that a pod writes into its namespace changes which interface is which; its
//! addresses are passed on for finding the pod and for nothing else. No namespace is entered but by a thread
//! that asks for its cookie and ends.
//!
//! Everything works on the network namespace of the thread that opens it, so that tests can give
//! it a host of their own.

mod children;
mod event;
mod link;
mod namespace;
mod routes;
mod sandbox;
mod tunnel;
mod view;
mod watch;

use crate::netlink::{message, socket};

pub use self::{
    event::{Child, Interface, NodeEvent, Sandbox},
    link::InterfaceKind,
    namespace::NetnsKey,
    watch::{Options, Watcher},
};
pub use crate::netlink::NetlinkError as NodeError;

/// The interfaces of this thread's network namespace that lead into others and are of kinds at which
/// programs would not see all traffic: names and kinds.
///
/// # Errors
/// A socket that cannot be made, or what the kernel refused.
pub fn unenforceable() -> Result<Vec<(String, InterfaceKind)>, NodeError> {
    let mut requests = socket::Requests::open(rtnetlink::sys::protocols::NETLINK_ROUTE)?;
    let links = link::links(&mut requests).map_err(view::asking("links"))?;
    let leads_out =
        |link: &link::Link| link.link_namespace.is_some() && !link.kind.is_enforceable();
    let found = links.into_iter().filter(leads_out);
    Ok(found.map(|link| (link.name, link.kind)).collect())
}
