//! The stage of all cases: one node with five pods, their policies, and packets with names.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use policy_common::Reason;
use policy_harness::{
    Attach, Cluster, Netns, Pod, Wiring,
    agent::Drop,
    topology::INSIDE,
    wire::{Ethernet, Port, port, transport::udp_packet},
};

/// How long something may take that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// How long something is awaited that must not happen, after what must happen was seen.
pub(crate) const SILENCE: Duration = Duration::from_millis(20);

/// Isolated on ingress: `friend`, `caged` and `sender` may use TCP 80 and UDP 53, `pinger` anything.
pub(crate) const WEB: &str = "shop/web";
/// Free; `web` lets it in.
pub(crate) const FRIEND: &str = "shop/friend";
/// Free; nobody lets it in.
pub(crate) const STRANGER: &str = "shop/stranger";
/// Isolated both ways: only TCP 80 and UDP 53 to `web`, anything to `pinger`, and answers.
pub(crate) const CAGED: &str = "shop/caged";
/// Free; `web` lets everything of it in.
pub(crate) const PINGER: &str = "shop/pinger";
/// Isolated on egress: only TCP 80 to `web`.
pub(crate) const SENDER: &str = "shop/sender";
/// Beyond the uplink; `web` lets UDP 53 of its [`KNOWN`] addresses in, and TCP 8080 of the IPv4 one.
pub(crate) const OUTSIDE: &str = "outside";
/// Addresses of the outside that `web` lets in.
pub(crate) const KNOWN: [&str; 2] = ["192.168.5.10", "2001:db8:5::10"];

const PODS: [(&str, &str, [&str; 2]); 6] = [
    (WEB, "app: web", ["10.1.0.10", "fd00:1::10"]),
    (FRIEND, "app: friend", ["10.1.0.20", "fd00:1::20"]),
    (STRANGER, "app: stranger", ["10.1.0.30", "fd00:1::30"]),
    (CAGED, "app: caged", ["10.1.0.40", "fd00:1::40"]),
    (PINGER, "app: pinger", ["10.1.0.50", "fd00:1::50"]),
    (SENDER, "app: sender", ["10.1.0.60", "fd00:1::60"]),
];

/// What `sender` may do; a case takes it away for a while.
pub(crate) const SENDER_POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: sender, namespace: shop}
spec:
  podSelector: {matchLabels: {app: sender}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{protocol: TCP, port: 80}]
";

const POLICIES: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from:
    - podSelector:
        matchExpressions: [{key: app, operator: In, values: [friend, caged, sender]}]
    ports: [{protocol: TCP, port: 80}, {protocol: UDP, port: 53}]
  - from: [{podSelector: {matchLabels: {app: pinger}}}]
  - from: [{ipBlock: {cidr: 192.168.5.10/32}}, {ipBlock: {cidr: '2001:db8:5::10/128'}}]
    ports: [{protocol: UDP, port: 53}]
  - from: [{ipBlock: {cidr: 192.168.5.0/24}}]
    ports: [{protocol: UDP, port: 8080}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: caged, namespace: shop}
spec:
  podSelector: {matchLabels: {app: caged}}
  policyTypes: [Ingress, Egress]
  egress:
  - to: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{protocol: TCP, port: 80}, {protocol: UDP, port: 53}]
  - to: [{podSelector: {matchLabels: {app: pinger}}}]
";

/// Which side drops a packet, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Denied {
    pub(crate) by: &'static str,
    pub(crate) direction: &'static str,
    pub(crate) reason: Reason,
}

impl Denied {
    /// Whether the agent says so.
    pub(crate) fn is(&self, drop: &Drop) -> bool {
        drop.is(self.reason)
            && drop.pod.as_deref() == Some(self.by)
            && drop.direction == self.direction
    }
}

/// Dropped on its way out of a pod.
pub(crate) const fn leaving(by: &'static str, reason: Reason) -> Denied {
    Denied {
        by,
        direction: "egress",
        reason,
    }
}

/// Dropped on its way to a pod.
pub(crate) const fn reaching(by: &'static str, reason: Reason) -> Denied {
    Denied {
        by,
        direction: "ingress",
        reason,
    }
}

/// The stage.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) attach: Attach,
    made: u16,
}

impl Scene {
    pub(crate) fn new(wiring: Wiring, attach: Attach) -> Self {
        let mut cluster = Cluster::new("hostile", wiring, attach).unwrap();
        for (name, labels, addresses) in PODS {
            cluster.add_pod(name, labels, &addresses).unwrap();
        }
        for address in KNOWN {
            cluster
                .node
                .add_outside_address(address.parse().unwrap())
                .unwrap();
        }
        cluster.apply("policies.yaml", POLICIES).unwrap();
        cluster.apply("sender.yaml", SENDER_POLICY).unwrap();
        Self {
            cluster,
            attach,
            made: 0,
        }
    }

    pub(crate) fn wiring(&self) -> Wiring {
        self.cluster.node.wiring()
    }

    pub(crate) fn pod(&self, name: &str) -> &Pod {
        self.cluster.pod(name).unwrap()
    }

    pub(crate) fn netns(&self, place: &str) -> &Netns {
        match place {
            OUTSIDE => &self.cluster.node.outside,
            pod => &self.pod(pod).netns,
        }
    }

    /// A pod's address, or the known one of the outside.
    pub(crate) fn address(&self, place: &str, v6: bool) -> IpAddr {
        match place {
            OUTSIDE => KNOWN[usize::from(v6)].parse().unwrap(),
            pod => self.pod(pod).address(v6).unwrap(),
        }
    }

    /// A number that no case had before: source ports, identifications.
    pub(crate) fn number(&mut self) -> u16 {
        self.made += 1;
        20_000 + self.made
    }

    /// Bytes that no packet had before.
    pub(crate) fn token(&mut self) -> Vec<u8> {
        format!("token {:05} of this packet", self.number()).into_bytes()
    }

    /// Both ends of a new UDP or TCP flow.
    pub(crate) fn ends(
        &mut self,
        from: &str,
        to: &str,
        v6: bool,
        port: u16,
    ) -> (SocketAddr, SocketAddr) {
        let source = SocketAddr::new(self.address(from, v6), self.number());
        (source, SocketAddr::new(self.address(to, v6), port))
    }

    /// A plain datagram of a new flow, and its token.
    pub(crate) fn datagram(
        &mut self,
        from: &str,
        to: &str,
        v6: bool,
        port: u16,
    ) -> (Vec<u8>, Vec<u8>) {
        let (source, destination) = self.ends(from, to, v6, port);
        let token = self.token();
        (udp_packet(source, destination, &token), token)
    }

    /// The Ethernet header for a packet between two places: pods of a bridge see each other.
    pub(crate) fn ethernet(&self, from: &str, to: &str) -> Ethernet {
        if from == OUTSIDE {
            let node = &self.cluster.node;
            return Ethernet::new(
                node.outside.mac(INSIDE).unwrap(),
                node.host.mac("uplink").unwrap(),
            );
        }
        let pod = self.pod(from);
        let next = match self.wiring() {
            Wiring::Bridged if to.starts_with("shop/") => self.pod(to).mac,
            _ => pod.gateway,
        };
        Ethernet::new(pod.mac, next)
    }

    pub(crate) fn port(&self, place: &str) -> Port {
        Port::open(self.netns(place), INSIDE).unwrap()
    }

    /// Sends an IP packet.
    pub(crate) fn send(&self, from: &str, to: &str, packet: &[u8]) {
        let frame = self.ethernet(from, to).ip(packet);
        self.port(from).send(&frame).unwrap();
    }

    /// Sends an IP packet that must arrive.
    pub(crate) fn passes(&self, what: &str, from: &str, to: &str, packet: &[u8], token: &[u8]) {
        self.frames_pass(what, from, to, &[self.ethernet(from, to).ip(packet)], token);
    }

    /// Sends frames of which the one with the token must arrive.
    pub(crate) fn frames_pass(
        &self,
        what: &str,
        from: &str,
        to: &str,
        frames: &[Vec<u8>],
        token: &[u8],
    ) {
        let mark = self.cluster.mark();
        let there = self.port(to);
        let here = self.port(from);
        for frame in frames {
            here.send(frame).unwrap();
        }
        let seen = there.sees(SOON, token).unwrap();
        assert!(
            seen,
            "{what}: from {from} to {to} must pass; dropped meanwhile: {:#?}\nsent: {frames:02x?}",
            self.dropped_since(mark)
        );
    }

    /// Sends an IP packet that must not arrive, for this reason.
    pub(crate) fn is_dropped(
        &mut self,
        what: &str,
        (from, to): (&str, &str),
        packet: &[u8],
        token: &[u8],
        denied: Denied,
    ) {
        let frame = self.ethernet(from, to).ip(packet);
        self.frames_are_dropped(what, (from, to), &[frame], token, denied);
    }

    /// Sends frames of which one must be dropped for this reason, and none with the token arrive.
    pub(crate) fn frames_are_dropped(
        &mut self,
        what: &str,
        (from, to): (&str, &str),
        frames: &[Vec<u8>],
        token: &[u8],
        denied: Denied,
    ) {
        let there = self.port(to);
        let mark = self.cluster.mark();
        let here = self.port(from);
        for frame in frames {
            here.send(frame).unwrap();
        }
        self.awaits_drop(what, mark, denied);
        assert!(
            !there.sees(SILENCE, token).unwrap(),
            "{what}: from {from} to {to} was to be dropped ({denied:?}) but arrived\nsent: {frames:02x?}"
        );
    }

    /// A drop after the mark with this reason.
    pub(crate) fn awaits_drop(&mut self, what: &str, mark: u64, denied: Denied) {
        let found = self.cluster.dropped(mark, SOON, |drop| denied.is(drop));
        assert!(
            found.is_some(),
            "{what}: expected {denied:?}, got {:#?}",
            self.dropped_since(mark)
        );
    }

    fn dropped_since(&self, mark: u64) -> Vec<Drop> {
        self.cluster.agent.drops_since(mark)
    }
}

/// The address that an interface gives itself.
pub(crate) fn link_local(scene: &Scene, pod: &str) -> Ipv6Addr {
    let [a, b, c, d, e, f] = scene.pod(pod).mac;
    let words = [[a ^ 2, b], [c, 0xff], [0xfe, d], [e, f]].map(u16::from_be_bytes);
    let [g, h, i, j] = words;
    Ipv6Addr::new(0xfe80, 0, 0, 0, g, h, i, j)
}

/// Whether a frame has these bytes.
pub(crate) fn has(frame: &[u8], bytes: &[u8]) -> bool {
    port::contains(frame, bytes)
}

/// IPv4 addresses of two ends.
pub(crate) fn v4(source: SocketAddr, to: SocketAddr) -> (std::net::Ipv4Addr, std::net::Ipv4Addr) {
    match (source.ip(), to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(to)) => (source, to),
        _ => panic!("{source} and {to} are not IPv4"),
    }
}

/// IPv6 addresses of two ends.
pub(crate) fn v6(source: SocketAddr, to: SocketAddr) -> (std::net::Ipv6Addr, std::net::Ipv6Addr) {
    match (source.ip(), to.ip()) {
        (IpAddr::V6(source), IpAddr::V6(to)) => (source, to),
        _ => panic!("{source} and {to} are not IPv6"),
    }
}
