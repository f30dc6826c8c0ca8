//! The namespaces of one case: a router, a host per node, a namespace per pod.
//!
//! ```text
//! pod eth0 ── pN node up0 ── nN router lo (outside addresses)
//! ```
//!
//! Owns links, addresses and routes; knows no policy and attaches nothing. Every address is the
//! case's own, and every neighbour entry is permanent: a probe without an answer was dropped, it
//! did not wait for a neighbour. Everything goes when the value is dropped.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context, Result};
use ipnet::IpNet;
use policy_core::model::ObjectName;

use policy_harness::Netns;

/// Hardware address of the ends nearer to the router.
const NEAR: &str = "02:00:00:00:00:01";
/// Hardware address of the ends farther from the router.
const FAR: &str = "02:00:00:00:00:02";
/// The next hop on every link, in either direction; no interface has these addresses.
const HOP_V4: &str = "169.254.1.1";
const HOP_V6: &str = "fe80::1";

/// The namespaces of one case.
#[derive(Debug)]
pub(crate) struct Network {
    /// Between the nodes, and every outside host.
    pub(crate) router: Netns,
    nodes: BTreeMap<String, NodeHost>,
    last_number: u32,
}

#[derive(Debug)]
struct NodeHost {
    netns: Netns,
    /// The router's interface towards the node.
    port: String,
    pods: BTreeMap<ObjectName, PodLink>,
}

#[derive(Debug)]
struct PodLink {
    netns: Netns,
    /// The node's end.
    interface: String,
    ifindex: u32,
    addresses: Vec<IpAddr>,
}

impl Network {
    /// Hosts with their addresses, connected, without pods.
    pub(crate) fn new<'a>(
        nodes: impl IntoIterator<Item = (&'a str, &'a [IpAddr])>,
    ) -> Result<Self> {
        let router = namespace("router")?;
        let mut network = Self {
            router,
            nodes: BTreeMap::new(),
            last_number: 0,
        };
        for (name, addresses) in nodes {
            network.add_node(name, addresses)?;
        }
        Ok(network)
    }

    fn add_node(&mut self, name: &str, addresses: &[IpAddr]) -> Result<()> {
        let netns = namespace("node")?;
        let port = format!("n{}", self.next_number());
        let mut near = vec![
            format!(
                "link add {port} address {NEAR} type veth peer name up0 address {FAR} netns {}",
                netns.name()
            ),
            format!("link set {port} up"),
        ];
        near.extend(hop(&port, FAR));
        near.extend(
            addresses
                .iter()
                .map(|address| route_by_hop(*address, &port)),
        );
        self.router.ip(&near)?;
        let mut far = vec!["link set up0 up".to_owned()];
        far.extend(addresses.iter().map(|address| add_address(*address, "up0")));
        far.extend(hop("up0", NEAR));
        far.extend(default_routes("up0"));
        netns.ip(&far)?;
        let host = NodeHost {
            netns,
            port,
            pods: BTreeMap::new(),
        };
        self.nodes.insert(name.to_owned(), host);
        Ok(())
    }

    /// The namespace of a node.
    pub(crate) fn node(&self, name: &str) -> Result<&Netns> {
        Ok(&self.host(name)?.netns)
    }

    /// The namespace of a pod.
    pub(crate) fn pod(&self, node: &str, pod: &ObjectName) -> Result<&Netns> {
        let link = self.host(node)?.pods.get(pod);
        Ok(&link
            .with_context(|| format!("{pod} has no interface"))?
            .netns)
    }

    /// The interface of a pod that has exactly these addresses.
    pub(crate) fn interface(
        &self,
        node: &str,
        pod: &ObjectName,
        addresses: &[IpAddr],
    ) -> Result<Option<u32>> {
        let link = self.host(node)?.pods.get(pod);
        Ok(link
            .filter(|link| link.addresses == addresses)
            .map(|link| link.ifindex))
    }

    /// Gives a pod a namespace and an interface on its node, down and without routes, and returns
    /// the interface's index; [`Network::open`] lets packets in.
    pub(crate) fn add_pod(
        &mut self,
        node: &str,
        pod: &ObjectName,
        addresses: &[IpAddr],
    ) -> Result<u32> {
        let interface = format!("p{}", self.next_number());
        let netns = namespace("pod")?;
        let host = self.host(node)?;
        host.netns.ip(&[format!(
            "link add {interface} address {NEAR} type veth peer name eth0 address {FAR} netns {}",
            netns.name()
        )])?;
        let ifindex = host.netns.ifindex(&interface)?;
        let link = PodLink {
            netns,
            interface,
            ifindex,
            addresses: addresses.to_vec(),
        };
        self.host_mut(node)?.pods.insert(pod.clone(), link);
        Ok(ifindex)
    }

    /// Brings the interface of a pod up and routes its addresses to it.
    pub(crate) fn open(&self, node: &str, pod: &ObjectName) -> Result<()> {
        let host = self.host(node)?;
        let link = host
            .pods
            .get(pod)
            .with_context(|| format!("{pod} has no interface"))?;
        let interface = &link.interface;
        let mut near = vec![format!("link set {interface} up")];
        for address in &link.addresses {
            near.push(format!(
                "neigh replace {address} lladdr {FAR} dev {interface} nud permanent"
            ));
            near.push(format!("route replace {address} dev {interface}"));
        }
        host.netns.ip(&near)?;
        let mut far = vec!["link set eth0 up".to_owned()];
        far.extend(
            link.addresses
                .iter()
                .map(|address| add_address(*address, "eth0")),
        );
        far.extend(hop("eth0", NEAR));
        far.extend(default_routes("eth0"));
        link.netns.ip(&far)?;
        let routes: Vec<String> = link
            .addresses
            .iter()
            .map(|address| route_by_hop(*address, &host.port))
            .collect();
        self.router.ip(&routes)
    }

    /// Takes the interface of a pod away, with its namespace. Routes to the pod that point to
    /// its node stay until another pod has the address.
    pub(crate) fn remove_pod(&mut self, node: &str, ifindex: u32) -> Result<()> {
        let host = self.host_mut(node)?;
        let name = host.pods.iter().find(|(_, link)| link.ifindex == ifindex);
        let name = name
            .map(|(name, _)| name.clone())
            .context("no such interface")?;
        match host.pods.remove(&name) {
            Some(link) => host.netns.ip(&[format!("link del {}", link.interface)]),
            None => Ok(()),
        }
    }

    /// Whether a pod has the address now.
    pub(crate) fn is_pod_address(&self, address: IpAddr) -> bool {
        let mut links = self.nodes.values().flat_map(|host| host.pods.values());
        links.any(|link| link.addresses.contains(&address))
    }

    /// Gives the router addresses of outside hosts.
    pub(crate) fn add_outside(&self, addresses: &[IpAddr]) -> Result<()> {
        self.router.ip(&addresses
            .iter()
            .map(|address| add_address(*address, "lo"))
            .collect::<Vec<_>>())
    }

    /// Takes them away.
    pub(crate) fn remove_outside(&self, addresses: &[IpAddr]) -> Result<()> {
        let remove = |address: &IpAddr| format!("addr del {} dev lo", IpNet::from(*address));
        self.router
            .ip(&addresses.iter().map(remove).collect::<Vec<_>>())
    }

    fn host(&self, name: &str) -> Result<&NodeHost> {
        self.nodes
            .get(name)
            .with_context(|| format!("no node {name}"))
    }

    fn host_mut(&mut self, name: &str) -> Result<&mut NodeHost> {
        self.nodes
            .get_mut(name)
            .with_context(|| format!("no node {name}"))
    }

    fn next_number(&mut self) -> u32 {
        self.last_number += 1;
        self.last_number
    }
}

/// A namespace that forwards and makes up no addresses of its own.
fn namespace(role: &str) -> Result<Netns> {
    let netns = Netns::new(&format!("conformance-{role}"))?;
    for (key, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv6/conf/default/addr_gen_mode", "1"),
    ] {
        netns.sysctl(key, value)?;
    }
    Ok(netns)
}

fn add_address(address: IpAddr, interface: &str) -> String {
    let nodad = if address.is_ipv6() { " nodad" } else { "" };
    format!("addr add {} dev {interface}{nodad}", IpNet::from(address))
}

/// The next hop's hardware address, for good.
fn hop(interface: &str, lladdr: &str) -> [String; 2] {
    [HOP_V4, HOP_V6]
        .map(|hop| format!("neigh replace {hop} lladdr {lladdr} dev {interface} nud permanent"))
}

fn default_routes(interface: &str) -> [String; 2] {
    [
        format!("route replace default via {HOP_V4} dev {interface} onlink"),
        format!("route replace default via {HOP_V6} dev {interface} onlink"),
    ]
}

fn route_by_hop(address: IpAddr, interface: &str) -> String {
    let hop = if address.is_ipv4() { HOP_V4 } else { HOP_V6 };
    format!("route replace {address} via {hop} dev {interface} onlink")
}
