//! What the rest of the agent learns about this machine's network.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;

use super::{link::InterfaceKind, namespace::NetnsKey};
use crate::netns::Mark;

/// One interface of the host's network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index.
    pub ifindex: u32,
    /// Its name, which may change.
    pub name: Arc<str>,
    /// What it is.
    pub kind: InterfaceKind,
    /// `ARPHRD_*`: 1 is Ethernet, 65534 has no link-layer header.
    pub hardware: u16,
    /// Administratively up.
    pub up: bool,
    /// The bridge whose port it is; a master of another kind does not count.
    pub bridge: Option<u32>,
    /// The other end, when that is in another network namespace.
    pub sandbox: Option<Sandbox>,
}

/// The other end of an interface, in another network namespace.
///
/// Whoever owns that namespace writes its addresses: good for finding the pod, for nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The namespace. A changed key is another namespace, though the interface's index be the same.
    pub netns: NetnsKey,
    /// The namespace's number here, which is another's when it has ended; a later run sees it too.
    pub number: i32,
    /// The namespace's name under the directory of names, when it had one as it was first seen.
    pub name: Option<Arc<str>>,
    /// What tells the namespace from others in later runs too, as far as it could be found.
    pub mark: Mark,
    /// [`name_mark`](crate::netns::name_mark) of all names that it had then.
    pub names: Arc<[u64]>,
    /// Index of the other end, in its namespace.
    pub ifindex: u32,
    /// Ethernet address of the other end.
    pub mac: Option<[u8; 6]>,
    /// Addresses of the other end, sorted, link-local ones included.
    pub addresses: Vec<IpAddr>,
}

/// A device inside a sandbox that goes through to this host's network at a device below, or without one:
/// what it carries passes no hook of the sandbox's own interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// The namespace that has it.
    pub netns: NetnsKey,
    /// Its index there.
    pub ifindex: u32,
    /// Its name there, which whoever owns the namespace chose.
    pub name: Arc<str>,
    /// What it is.
    pub kind: InterfaceKind,
    /// The host's interface on which it stands, if it stands on one.
    pub below: Option<u32>,
}

/// What has been found or has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeEvent {
    /// All interfaces there are: at the start, and after the kernel dropped messages.
    /// Indices that are absent are gone; a changed [`Sandbox::netns`] means a new interface.
    Interfaces(Vec<Interface>),
    /// One interface appeared or changed.
    Interface(Interface),
    /// The interface that had this index was not removed: somebody moved it to another namespace. Follows
    /// [`NodeEvent::InterfaceGone`].
    InterfaceMoved(u32),
    /// One interface is gone; its index may be used again by the next event.
    InterfaceGone(u32),
    /// All devices of sandboxes that go through to this host, at the start and after the kernel dropped
    /// messages. Those that are absent are gone.
    Children(Vec<Child>),
    /// One of them appeared or changed.
    Child(Child),
    /// One of them is gone.
    ChildGone {
        /// The namespace that had it.
        netns: NetnsKey,
        /// Its index there.
        ifindex: u32,
    },
    /// The namespace of this number has ended: another one may get it.
    NamespaceEnded(i32),
    /// All addresses of this host but 127.0.0.0/8 and ::1, sorted.
    HostAddresses(Vec<IpAddr>),
    /// All prefixes to which this host delivers packets locally, its own addresses included, sorted.
    LocalRoutes(Vec<IpNet>),
    /// All UDP ports on which this host takes packets out of tunnels, sorted.
    TunnelPorts(Vec<u16>),
    /// A qdisc or filter of this interface came or went, perhaps by our own hand.
    TcChanged {
        /// The interface.
        ifindex: u32,
    },
    /// The kernel dropped messages and everything has been read anew; changes of qdiscs and
    /// filters may have been missed.
    Resynced,
}
