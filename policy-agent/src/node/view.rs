//! The host's network as last read. Messages only say *what* to read again, never what it is:
//! their order, their family (a bridge's RTM_DELLINK is a port leaving) and losses then do not
//! matter.
//!
//! Invariant: after [`View::refresh`] without an error the receiver of the events knows what the
//! view knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
};

use ipnet::IpNet;

use super::{
    NodeError,
    children::Children,
    event::{Interface, NodeEvent, Sandbox},
    link::{self, Link},
    namespace::Namespaces,
    routes,
    sandbox::inside,
    socket::Requests,
    tunnel::Fou,
};

/// What is to be read again.
#[derive(Debug, Default)]
pub(super) struct Stale {
    pub(super) links: BTreeSet<u32>,
    /// Deleted for certain: what now has the index is another interface.
    pub(super) deleted: BTreeSet<u32>,
    /// Of those: they went to another namespace.
    pub(super) moved: BTreeSet<u32>,
    /// Addresses of these interfaces of the host.
    pub(super) addresses: BTreeSet<u32>,
    /// Addresses, also of Ethernet, of these interfaces of other namespaces.
    pub(super) inside: BTreeSet<(i32, u32)>,
    /// Addresses of all interfaces of other namespaces, and all devices there.
    pub(super) all_inside: bool,
    /// These devices of other namespaces, which may go through to this one.
    pub(super) children: BTreeSet<(i32, u32)>,
    /// These namespaces have ended.
    pub(super) ended: BTreeSet<i32>,
    pub(super) tunnels: bool,
    pub(super) routes: bool,
    /// Qdiscs or filters changed.
    pub(super) tc: BTreeSet<u32>,
}

struct Entry {
    link: Link,
    interface: Interface,
}

pub(super) struct View {
    requests: Requests,
    fou: Fou,
    namespaces: Namespaces,
    entries: BTreeMap<u32, Entry>,
    children: Children,
    addresses: BTreeMap<u32, BTreeSet<IpAddr>>,
    host_addresses: Option<Vec<IpAddr>>,
    local_routes: Option<Vec<IpNet>>,
    tunnel_ports: Option<Vec<u16>>,
}

pub(super) fn asking(what: &'static str) -> impl FnOnce(io::Error) -> NodeError {
    move |source| NodeError::Request { what, source }
}

impl View {
    pub(super) fn open(netns_directory: PathBuf) -> Result<Self, NodeError> {
        Ok(Self {
            requests: Requests::open(rtnetlink::sys::protocols::NETLINK_ROUTE)?,
            fou: Fou::open()?,
            namespaces: Namespaces::new(netns_directory).map_err(asking("namespaces"))?,
            entries: BTreeMap::new(),
            children: Children::default(),
            addresses: BTreeMap::new(),
            host_addresses: None,
            local_routes: None,
            tunnel_ports: None,
        })
    }

    /// Reads everything.
    pub(super) fn read_all(&mut self) -> Result<Vec<NodeEvent>, NodeError> {
        self.namespaces.begin();
        let links = link::links(&mut self.requests).map_err(asking("links"))?;
        let addresses =
            link::addresses(&mut self.requests, None, 0).map_err(asking("addresses"))?;
        let mut old = std::mem::take(&mut self.entries);
        let kept: BTreeSet<i32> = links
            .iter()
            .filter(|link| {
                old.get(&link.ifindex)
                    .is_some_and(|entry| same(&entry.link, link))
            })
            .filter_map(|link| link.link_namespace)
            .collect();
        // A number may have changed hands unseen; an interface that lived on proves it did not.
        for number in old.values().filter_map(|entry| entry.link.link_namespace) {
            if !kept.contains(&number) {
                self.namespaces.forget(number);
            }
        }
        let into = links.iter().filter_map(|link| link.link_namespace);
        let sandboxes = counts(into);
        for link in links {
            old.remove(&link.ifindex);
            let is_only = link
                .link_namespace
                .is_none_or(|number| sandboxes.get(&number) == Some(&1));
            let interface = self.interface(&link, is_only)?;
            self.entries.insert(link.ifindex, Entry { link, interface });
        }
        self.addresses.clear();
        for (ifindex, address) in addresses {
            self.addresses.entry(ifindex).or_default().insert(address);
        }
        let all = self.entries.values().map(|entry| entry.interface.clone());
        let mut events = vec![NodeEvent::Interfaces(all.collect())];
        let mut into = self.children.namespaces();
        self.children.clear();
        into.extend(sandboxes.keys());
        for number in into {
            self.read_children(number, &mut Vec::new())?;
        }
        events.push(NodeEvent::Children(self.children.all()));
        self.host_addresses = None;
        self.local_routes = None;
        self.tunnel_ports = None;
        self.changed_addresses(&mut events);
        self.changed_routes(&mut events)?;
        self.changed_tunnels(&mut events)?;
        Ok(events)
    }

    /// Reads what is stale and says what is new. `stale` is empty afterwards.
    pub(super) fn refresh(&mut self, stale: &mut Stale) -> Result<Vec<NodeEvent>, NodeError> {
        self.namespaces.begin();
        let mut stale = std::mem::take(stale);
        let mut events = Vec::new();
        for number in &stale.ended {
            self.children.ended(*number, &mut events);
            events.push(NodeEvent::NamespaceEnded(*number));
        }
        for ifindex in &stale.deleted {
            if self.entries.remove(ifindex).is_some() {
                events.push(NodeEvent::InterfaceGone(*ifindex));
            }
            // The end that stays of a pair whose other end moved away hears nothing of it.
            let pair = |entry: &&Entry| entry.link.link == Some(*ifindex);
            let others = self.entries.values().filter(pair);
            stale.links.extend(others.map(|entry| entry.link.ifindex));
            stale.addresses.insert(*ifindex);
        }
        let moved = stale.moved.iter().copied();
        events.extend(moved.map(NodeEvent::InterfaceMoved));
        stale.links.append(&mut stale.deleted);
        for ifindex in &stale.links {
            self.refresh_link(*ifindex, &mut events)?;
            stale.tunnels = true;
        }
        self.refresh_inside(&stale, &mut events)?;
        self.refresh_children(&stale, &mut events)?;
        for ifindex in &stale.addresses {
            let found =
                link::addresses(&mut self.requests, None, *ifindex).map_err(asking("addresses"))?;
            self.addresses.insert(
                *ifindex,
                found.into_iter().map(|(_, address)| address).collect(),
            );
        }
        self.addresses.retain(|_, addresses| !addresses.is_empty());
        self.changed_addresses(&mut events);
        if stale.routes {
            self.changed_routes(&mut events)?;
        }
        if stale.tunnels {
            self.changed_tunnels(&mut events)?;
        }
        let tc = stale.tc.into_iter();
        events.extend(tc.map(|ifindex| NodeEvent::TcChanged { ifindex }));
        Ok(events)
    }

    /// The namespace of this number has ended: so have all interfaces that led into it.
    pub(super) fn namespace_ended(&mut self, number: i32, stale: &mut Stale) {
        self.namespaces.forget(number);
        stale.ended.insert(number);
        let into = |entry: &&Entry| entry.link.link_namespace == Some(number);
        let ended = self.entries.values().filter(into);
        stale.deleted.extend(ended.map(|entry| entry.link.ifindex));
    }

    fn refresh_link(&mut self, ifindex: u32, events: &mut Vec<NodeEvent>) -> Result<(), NodeError> {
        let Some(link) = link::link(&mut self.requests, ifindex).map_err(asking("link"))? else {
            if self.entries.remove(&ifindex).is_some() {
                events.push(NodeEvent::InterfaceGone(ifindex));
            }
            return Ok(());
        };
        let is_only = self.is_only(&link);
        let interface = self.interface(&link, is_only)?;
        let known = self.entries.get(&ifindex);
        if known.is_none_or(|entry| entry.interface != interface) {
            events.push(NodeEvent::Interface(interface.clone()));
        }
        self.entries.insert(ifindex, Entry { link, interface });
        Ok(())
    }

    fn refresh_inside(
        &mut self,
        stale: &Stale,
        events: &mut Vec<NodeEvent>,
    ) -> Result<(), NodeError> {
        let into = self.entries.values();
        let sandboxes = counts(into.filter_map(|entry| entry.link.link_namespace));
        for entry in self.entries.values_mut() {
            let (Some(sandbox), Some(number)) =
                (&mut entry.interface.sandbox, entry.link.link_namespace)
            else {
                continue;
            };
            // Those of its other interfaces count where it has none itself.
            let mut stale_there = stale.inside.range((number, 0)..=(number, u32::MAX));
            if !stale.all_inside && stale_there.next().is_none() {
                continue;
            }
            let is_only = sandboxes.get(&number) == Some(&1);
            let (addresses, mac) = inside(&mut self.requests, number, sandbox.ifindex, is_only)?;
            if sandbox.addresses != addresses || sandbox.mac != mac {
                (sandbox.addresses, sandbox.mac) = (addresses, mac);
                events.push(NodeEvent::Interface(entry.interface.clone()));
            }
        }
        Ok(())
    }

    /// The interfaces whose other end is this one of a namespace.
    pub(super) fn leading_to(&self, number: i32, ifindex: u32) -> impl Iterator<Item = u32> {
        let entries = self.entries.values().filter(move |entry| {
            (entry.link.link_namespace, entry.link.link) == (Some(number), Some(ifindex))
        });
        entries.map(|entry| entry.link.ifindex)
    }

    /// Whether a device of another namespace is known to go through to this one.
    pub(super) fn is_child(&self, number: i32, ifindex: u32) -> bool {
        self.children.contains(number, ifindex)
    }

    fn read_children(&mut self, number: i32, events: &mut Vec<NodeEvent>) -> Result<(), NodeError> {
        let (requests, namespaces) = (&mut self.requests, &mut self.namespaces);
        let read = self.children.read(number, requests, namespaces, events);
        read.map_err(asking("links of another namespace"))
    }

    fn refresh_children(
        &mut self,
        stale: &Stale,
        events: &mut Vec<NodeEvent>,
    ) -> Result<(), NodeError> {
        let (requests, namespaces) = (&mut self.requests, &mut self.namespaces);
        let entries = stale.links.iter().map(|ifindex| self.entries.get(ifindex));
        let mut into: BTreeSet<i32> = entries
            .filter_map(|entry| entry?.link.link_namespace)
            .filter(|number| !self.children.is_complete(*number))
            .collect();
        if stale.all_inside {
            into.extend(self.children.namespaces());
            into.extend(
                self.entries
                    .values()
                    .filter_map(|one| one.link.link_namespace),
            );
        }
        let asked = asking("links of another namespace");
        let read = || -> io::Result<()> {
            for number in into {
                self.children.read(number, requests, namespaces, events)?;
            }
            for place in &stale.children {
                self.children
                    .refresh(*place, requests, namespaces, events)?;
            }
            Ok(())
        };
        read().map_err(asked)
    }

    /// Whether no other interface leads into the namespace that this one leads into.
    fn is_only(&self, link: &Link) -> bool {
        link.link_namespace.is_none_or(|number| {
            !self.entries.values().any(|entry| {
                entry.link.link_namespace == Some(number) && entry.link.ifindex != link.ifindex
            })
        })
    }

    fn interface(&mut self, link: &Link, is_only: bool) -> Result<Interface, NodeError> {
        let sandbox = match (link.link_namespace, link.link) {
            (Some(number), Some(ifindex)) => {
                let known = self.namespaces.get(&mut self.requests, number);
                let (addresses, mac) = inside(&mut self.requests, number, ifindex, is_only)?;
                Some(Sandbox {
                    netns: known.key,
                    number,
                    name: known.name,
                    mark: known.mark,
                    names: known.names,
                    ifindex,
                    mac,
                    addresses,
                })
            }
            _ => None,
        };
        Ok(Interface {
            ifindex: link.ifindex,
            name: Arc::from(&*link.name),
            kind: link.kind.clone(),
            hardware: link.hardware,
            up: link.up,
            bridge: link.bridge,
            sandbox,
        })
    }

    fn changed_addresses(&mut self, events: &mut Vec<NodeEvent>) {
        let all: BTreeSet<IpAddr> = self.addresses.values().flatten().copied().collect();
        let all: Vec<IpAddr> = all
            .into_iter()
            .filter(|address| !address.is_loopback())
            .collect();
        if self.host_addresses.as_ref() != Some(&all) {
            events.push(NodeEvent::HostAddresses(all.clone()));
            self.host_addresses = Some(all);
        }
    }

    fn changed_routes(&mut self, events: &mut Vec<NodeEvent>) -> Result<(), NodeError> {
        let routes = routes::local(&mut self.requests).map_err(asking("routes"))?;
        let routes: Vec<IpNet> = routes.into_iter().collect();
        if self.local_routes.as_ref() != Some(&routes) {
            events.push(NodeEvent::LocalRoutes(routes.clone()));
            self.local_routes = Some(routes);
        }
        Ok(())
    }

    fn changed_tunnels(&mut self, events: &mut Vec<NodeEvent>) -> Result<(), NodeError> {
        let links = self
            .entries
            .values()
            .filter_map(|entry| entry.link.tunnel_port);
        let mut ports: BTreeSet<u16> = links.collect();
        ports.extend(self.fou.ports().map_err(asking("FOU ports"))?);
        let ports: Vec<u16> = ports.into_iter().collect();
        if self.tunnel_ports.as_ref() != Some(&ports) {
            events.push(NodeEvent::TunnelPorts(ports.clone()));
            self.tunnel_ports = Some(ports);
        }
        Ok(())
    }
}

/// Whether two readings that may be far apart are of one interface.
fn same(old: &Link, new: &Link) -> bool {
    (old.link_namespace, old.link, &old.kind, &old.mac)
        == (new.link_namespace, new.link, &new.kind, &new.mac)
}

/// How many interfaces lead into each namespace.
fn counts(namespaces: impl Iterator<Item = i32>) -> BTreeMap<i32, usize> {
    let mut counts = BTreeMap::new();
    for number in namespaces {
        *counts.entry(number).or_default() += 1;
    }
    counts
}
