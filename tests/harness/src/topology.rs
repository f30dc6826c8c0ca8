//! A node: a namespace that plays the host, pods behind veth pairs, and a neighbour outside.
//!
//! ```text
//!   pod "a" ── veth1 ─┐
//!   pod "b" ── veth2 ─┤ host ── uplink ── eth0 outside
//! ```
//! *Routed*: a host route to every address, the gateway on every pod's interface. *Bridged*: the
//! pods' interfaces are ports of `br0`, which has the gateway; pods of one subnet reach each other
//! without the host's routing. Each pod's gateway is 169.254.1.1 and fe80::1.

use std::net::IpAddr;

use anyhow::{Context, Result, bail};

use super::netns::Netns;

/// The host's addresses on its uplink: where its own connections come from.
pub const HOST_V4: &str = "192.0.2.1";
/// The same for IPv6.
pub const HOST_V6: &str = "2001:db8:ff::1";
/// The outside neighbour's addresses.
pub const OUTSIDE_V4: &str = "192.0.2.2";
/// The same for IPv6.
pub const OUTSIDE_V6: &str = "2001:db8:ff::2";
/// The name of the host's bridge in a bridged node.
pub const BRIDGE: &str = "br0";
/// The name of the host's interface towards the outside.
pub const UPLINK: &str = "uplink";
/// The name of every interface inside a pod and outside.
pub const INSIDE: &str = "eth0";

/// Pods of one subnet share it; of these lengths.
const SUBNET_V4: u8 = 24;
const SUBNET_V6: u8 = 64;

/// How pods are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// Every pod behind the host's routing.
    Routed,
    /// Pods as ports of a bridge.
    Bridged,
}

/// A pod: its namespace and its interface on the host.
#[derive(Debug)]
pub struct Pod {
    /// The name that the caller gave.
    pub name: String,
    /// Its network namespace; its interface there is [`INSIDE`].
    pub netns: Netns,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The host's end of its pair.
    pub interface: String,
    /// Index of that end.
    pub ifindex: u32,
    /// Hardware address of the end inside.
    pub mac: [u8; 6],
    /// Hardware address of its gateway: the host's end, or the bridge.
    pub gateway: [u8; 6],
}

impl Pod {
    /// Its first address of a family.
    pub fn address(&self, v6: bool) -> Result<IpAddr> {
        let mut all = self.addresses.iter().copied();
        all.find(|address| address.is_ipv6() == v6)
            .with_context(|| format!("pod {} has no address of the family", self.name))
    }

    /// Its first IPv4 address.
    pub fn v4(&self) -> Result<IpAddr> {
        self.address(false)
    }

    /// Its first IPv6 address.
    pub fn v6(&self) -> Result<IpAddr> {
        self.address(true)
    }
}

/// A node with its pods. Dropping it removes everything.
#[derive(Debug)]
pub struct Node {
    /// The namespace that plays the host: run the agent here.
    pub host: Netns,
    /// A machine beyond the uplink, whose default route is the host.
    pub outside: Netns,
    wiring: Wiring,
    prefix: String,
    pods: Vec<Pod>,
    made: u32,
}

impl Node {
    /// A host and an outside without pods; namespaces are called `prefix-…`.
    pub fn new(prefix: &str, wiring: Wiring) -> Result<Self> {
        let host = Netns::new(&format!("{prefix}-host"))?;
        let outside = Netns::new(&format!("{prefix}-outside"))?;
        host.sysctl("net/ipv4/ip_forward", "1")?;
        host.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        host.ip(&[
            format!(
                "link add {UPLINK} type veth peer name {INSIDE} netns {}",
                outside.name()
            ),
            format!("addr add {HOST_V4}/24 dev {UPLINK}"),
            format!("addr add {HOST_V6}/64 dev {UPLINK} nodad"),
            format!("link set {UPLINK} up"),
        ])?;
        outside.ip(&[
            format!("addr add {OUTSIDE_V4}/24 dev {INSIDE}"),
            format!("addr add {OUTSIDE_V6}/64 dev {INSIDE} nodad"),
            format!("link set {INSIDE} up"),
            format!("route add default via {HOST_V4}"),
            format!("route add default via {HOST_V6}"),
        ])?;
        if wiring == Wiring::Bridged {
            let mut commands = vec![
                format!("link add {BRIDGE} type bridge forward_delay 0 mcast_snooping 0"),
                format!("link set {BRIDGE} address 02:00:00:00:00:01 up"),
            ];
            commands.extend(gateway(BRIDGE));
            host.ip(&commands)?;
        }
        Ok(Self {
            host,
            outside,
            wiring,
            prefix: prefix.to_owned(),
            pods: Vec::new(),
            made: 0,
        })
    }

    /// Another one like it, without pods.
    pub fn another(&self) -> Result<Self> {
        Self::new(&self.prefix, self.wiring)
    }

    /// How its pods are connected.
    #[must_use]
    pub fn wiring(&self) -> Wiring {
        self.wiring
    }

    /// Makes a pod with these addresses, of either family or both.
    pub fn add_pod(&mut self, name: &str, addresses: &[IpAddr]) -> Result<&Pod> {
        self.add_pod_at(name, addresses, None)
    }

    /// The same with a wanted index of its interface on the host, which must be free.
    pub fn add_pod_at(
        &mut self,
        name: &str,
        addresses: &[IpAddr],
        ifindex: Option<u32>,
    ) -> Result<&Pod> {
        if self.pods.iter().any(|pod| pod.name == name) {
            bail!("pod {name} is there already");
        }
        let netns = Netns::new(&format!("{}-pod", self.prefix))?;
        self.made += 1;
        let interface = format!("veth{}", self.made);
        let index = ifindex.map_or_else(String::new, |index| format!("index {index}"));
        let mut outer = vec![format!(
            "link add {interface} {index} type veth peer name {INSIDE} netns {}",
            netns.name()
        )];
        let via = match self.wiring {
            Wiring::Routed => interface.as_str(),
            Wiring::Bridged => {
                outer.push(format!("link set {interface} master {BRIDGE}"));
                BRIDGE
            }
        };
        outer.push(format!("link set {interface} up"));
        if self.wiring == Wiring::Routed {
            outer.extend(gateway(&interface));
        }
        for address in addresses {
            let (length, source) = match address {
                IpAddr::V4(_) => (32, HOST_V4),
                IpAddr::V6(_) => (128, HOST_V6),
            };
            outer.push(format!(
                "route add {address}/{length} dev {via} src {source}"
            ));
        }
        self.host.ip(&outer)?;
        netns.ip(&self.inner(addresses))?;
        let pod = Pod {
            name: name.to_owned(),
            addresses: addresses.to_vec(),
            ifindex: self.host.ifindex(&interface)?,
            mac: netns.mac(INSIDE)?,
            gateway: self.host.mac(via)?,
            interface,
            netns,
        };
        self.pods.push(pod);
        self.pod(name)
    }

    fn inner(&self, addresses: &[IpAddr]) -> Vec<String> {
        let mut commands = vec![format!("link set {INSIDE} up")];
        for address in addresses {
            let length = match (self.wiring, address) {
                (Wiring::Routed, IpAddr::V4(_)) => 32,
                (Wiring::Routed, IpAddr::V6(_)) => 128,
                (Wiring::Bridged, IpAddr::V4(_)) => SUBNET_V4,
                (Wiring::Bridged, IpAddr::V6(_)) => SUBNET_V6,
            };
            commands.push(give(*address, length));
        }
        if addresses.iter().any(IpAddr::is_ipv4) {
            commands.push(format!(
                "route add default via 169.254.1.1 dev {INSIDE} onlink"
            ));
        }
        if addresses.iter().any(IpAddr::is_ipv6) {
            commands.push(format!("route add default via fe80::1 dev {INSIDE}"));
        }
        commands
    }

    /// Ends a pod: its namespace and with it its interface on the host.
    pub fn remove_pod(&mut self, name: &str) -> Result<()> {
        let place = self.pods.iter().position(|pod| pod.name == name);
        let pod = self
            .pods
            .remove(place.with_context(|| format!("no pod {name}"))?);
        // The kernel ends a namespace when it finds the time; this end goes at once.
        let mut commands = vec![format!("link del {}", pod.interface)];
        if self.wiring == Wiring::Bridged {
            // Routes to the pod's interface end with it, those to the bridge do not.
            let routes = pod.addresses.iter();
            commands.extend(routes.map(|address| format!("route del {address} dev {BRIDGE}")));
        }
        self.host.ip(&commands)
    }

    /// The pod of this name.
    pub fn pod(&self, name: &str) -> Result<&Pod> {
        let mut pods = self.pods.iter();
        pods.find(|pod| pod.name == name)
            .with_context(|| format!("no pod {name}"))
    }

    /// All pods, in the order in which they were made.
    #[must_use]
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// Gives the outside another address, reached through it: a peer of an ipBlock.
    pub fn add_outside_address(&self, address: IpAddr) -> Result<()> {
        let (length, via) = match address {
            IpAddr::V4(_) => (32, OUTSIDE_V4),
            IpAddr::V6(_) => (128, OUTSIDE_V6),
        };
        self.outside.ip(&[give(address, length)])?;
        self.host
            .ip(&[format!("route add {address}/{length} via {via}")])
    }
}

/// Usable at once: also where `accept_dad` is 0 an IPv6 address is tentative until a worker of the
/// kernel has looked at it, unless it is added with `nodad`.
fn give(address: IpAddr, length: u8) -> String {
    let nodad = if address.is_ipv6() { "nodad" } else { "" };
    format!("addr add {address}/{length} dev {INSIDE} {nodad}")
}

fn gateway(interface: &str) -> [String; 2] {
    [
        format!("addr add 169.254.1.1/32 dev {interface} scope link"),
        format!("addr add fe80::1/64 dev {interface} nodad"),
    ]
}
