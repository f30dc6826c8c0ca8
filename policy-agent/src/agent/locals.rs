//! What this node says of itself, and what is known of the others.
//!
//! Owns where no pod may send tunnel packets to: what this node delivers locally, and the addresses of
//! the cluster's other nodes, which unpack what comes from this one.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Instant};

use ipnet::IpNet;
use policy_core::model::{Change, NodeFact};

use super::{Agent, tables::Request};
use crate::node::NodeEvent;

/// Where tunnels may end.
#[derive(Debug, Default)]
pub(super) struct Locals {
    routes: Vec<IpNet>,
    nodes: BTreeMap<Arc<str>, Vec<IpAddr>>,
    /// They are others than those that were written.
    anew: bool,
}

impl Locals {
    /// Takes what is said of a node; whether it says anything new.
    fn put(&mut self, change: Change) -> bool {
        match change {
            Change::Node(NodeFact { name, addresses }) => {
                self.nodes.insert(name, addresses.clone()) != Some(addresses)
            }
            Change::NodeRemoved(name) => self.nodes.remove(&name).is_some(),
            _ => false,
        }
    }

    fn all(&self) -> Vec<IpNet> {
        let addresses = self.nodes.values().flatten().copied().map(IpNet::from);
        self.routes.iter().copied().chain(addresses).collect()
    }
}

impl Agent {
    /// A node of the cluster came, changed or went.
    pub(super) fn peer_node(&mut self, change: Change) {
        self.locals.anew |= self.locals.put(change);
    }

    /// Once a turn: thousands of nodes come at once.
    pub(super) fn write_locals(&mut self) {
        if std::mem::take(&mut self.locals.anew) {
            let all = self.locals.all();
            self.tables.ask(Request::LocalRoutes(all));
        }
    }

    pub(super) fn on_node(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::Interfaces(interfaces) => {
                self.replace_interfaces(interfaces);
                self.node_synced.interfaces = true;
            }
            NodeEvent::Interface(interface) => self.interface(interface),
            NodeEvent::InterfaceMoved(ifindex) => self.lost_by_move(ifindex, Instant::now()),
            NodeEvent::InterfaceGone(ifindex) => self.interface_gone(ifindex),
            NodeEvent::Children(children) => self.children(children, Instant::now()),
            NodeEvent::Child(child) => self.child(child, Instant::now()),
            NodeEvent::ChildGone { netns, ifindex } => self.child_gone(netns, ifindex),
            NodeEvent::NamespaceEnded(number) => self.memory.ended(number),
            NodeEvent::HostAddresses(addresses) => {
                self.node_synced.addresses = true;
                self.host_addresses = addresses.iter().copied().collect();
                self.change(Change::HostAddresses(addresses));
            }
            NodeEvent::TunnelPorts(ports) => {
                self.node_synced.tunnels = true;
                self.tables.ask(Request::TunnelPorts(ports));
            }
            NodeEvent::LocalRoutes(routes) => {
                self.node_synced.routes = true;
                self.locals.routes = routes;
                self.locals.anew = true;
            }
            NodeEvent::TcChanged { ifindex } => self.look_again(Some(ifindex)),
            NodeEvent::Resynced => self.look_again(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_may_end_at_local_routes_and_at_every_known_node() {
        let node = |name: &str, addresses: &[&str]| {
            Change::Node(NodeFact {
                name: name.into(),
                addresses: addresses.iter().map(|one| one.parse().unwrap()).collect(),
            })
        };
        let mut locals = Locals {
            routes: vec!["10.0.0.0/24".parse().unwrap()],
            ..Locals::default()
        };
        let said = |locals: &Locals| -> Vec<String> {
            locals.all().iter().map(ToString::to_string).collect()
        };
        assert!(locals.put(node("b", &["192.0.2.2", "2001:db8::2"])));
        assert!(!locals.put(node("b", &["192.0.2.2", "2001:db8::2"])));
        assert!(locals.put(node("a", &["192.0.2.1"])));
        assert_eq!(
            said(&locals),
            [
                "10.0.0.0/24",
                "192.0.2.1/32",
                "192.0.2.2/32",
                "2001:db8::2/128"
            ]
        );
        assert!(locals.put(node("b", &["192.0.2.3"])));
        assert!(locals.put(Change::NodeRemoved("a".into())));
        assert!(!locals.put(Change::NodeRemoved("a".into())));
        assert_eq!(said(&locals), ["10.0.0.0/24", "192.0.2.3/32"]);
    }
}
