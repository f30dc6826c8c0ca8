//! What keeps the link alive, and what looks like the node: neither carries a closed pod's data, nor
//! makes a pod somebody else.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Instant,
};

use aya::{
    programs::{ProgramType, TcAttachType::Egress},
    sys::{BpfHelper, is_helper_supported},
};
use policy_common::Reason;
use policy_harness::{
    Foreign, Netns,
    foreign::Place,
    topology::{BRIDGE, INSIDE},
    traffic::{Outcome, Protocol, Server, probe},
    wire::{
        Ethernet, Ipv4, Ipv6, arp, checksum, icmp,
        ip::{self, BROADCAST, Extension},
        transport, udp,
    },
};

use crate::{
    Case,
    Ways::{All, Bridged},
    scene::{CAGED, FRIEND, SOON, STRANGER, Scene, WEB, leaving, link_local, reaching, v4},
};

pub(crate) const CASES: &[Case] = &[
    ("nothing travels behind ARP", behind_arp, All),
    (
        "nothing travels in discovery and group reports on the link",
        in_discovery,
        All,
    ),
    (
        "nothing travels in the sources of group reports and queries",
        in_sources,
        Bridged,
    ),
    (
        "a source route with addresses left is dropped",
        source_route,
        All,
    ),
    (
        "a frame with another's hardware address is dropped",
        hardware_address,
        All,
    ),
    (
        "nobody takes a router's link-local address",
        router_address,
        Bridged,
    ),
    (
        "a pod is itself by its link-local address",
        link_local_peer,
        Bridged,
    ),
    (
        "a tunnel packet to what the node delivers locally is dropped",
        delivered_locally,
        All,
    ),
    (
        "a container on the pods' bridge is not the node",
        macvlan_child,
        Bridged,
    ),
    (
        "a class that a filter gives the node's packets changes nothing",
        class,
        Bridged,
    ),
];

const ARP: u16 = 0x0806;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const REPORTS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

fn own_v4(scene: &Scene, pod: &str) -> std::net::Ipv4Addr {
    match scene.address(pod, false) {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address}"),
    }
}

fn own_v6(scene: &Scene, pod: &str) -> Ipv6Addr {
    match scene.address(pod, true) {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => panic!("{address}"),
    }
}

fn behind_arp(scene: &mut Scene) {
    for from in [STRANGER, CAGED] {
        let mac = scene.pod(from).mac;
        let question = arp(1, (mac, own_v4(scene, from)), ([0; 6], own_v4(scene, WEB)));
        for to in [scene.pod(WEB).mac, BROADCAST] {
            for room in [18, 1_400] {
                let token = scene.token();
                let mut packet = question.clone();
                packet.extend(&token);
                packet.resize(28 + room.max(token.len()), 0);
                let frame = Ethernet::new(mac, to).frame(ARP, &packet);
                let denied = leaving(from, Reason::LinkData);
                scene.frames_are_dropped("ARP", (from, WEB), &[frame], &token, denied);
            }
        }
    }
}

fn in_discovery(scene: &mut Scene) {
    let (mac, own) = (scene.pod(CAGED).mac, own_v6(scene, CAGED));
    let link_own = link_local(scene, CAGED);
    let web = scene.pod(WEB).mac;
    let denied = leaving(CAGED, Reason::Policy);
    let option = [&[1, 1][..], &mac].concat();
    for (to, link) in [
        (ALL_NODES, [0x33, 0x33, 0, 0, 0, 1]),
        (link_local(scene, WEB), web),
    ] {
        for kind in [133, 135, 136] {
            let token = scene.token();
            let mut rest = vec![0; 4];
            if kind != 133 {
                rest.extend(own.octets());
            }
            rest.extend(&option);
            rest.extend(&token);
            let message = icmp::message(own.into(), to.into(), kind, 0, &rest);
            let header = Ipv6 {
                hop_limit: 255,
                ..Ipv6::new(own, to, icmp::ICMPV6)
            };
            let frame = Ethernet::new(mac, link).ip(&header.packet(&message));
            let what = format!("type {kind} to {to}");
            scene.frames_are_dropped(&what, (CAGED, WEB), &[frame], &token, denied);
        }
    }
    let token = scene.token();
    let rest = [&[0, 0, 0, 1, 4, 0, 0, 0][..], &ALL_NODES.octets(), &token].concat();
    let frame = listener_message(mac, link_own, 143, &rest);
    scene.frames_are_dropped("MLD", (CAGED, WEB), &[frame], &token, denied);

    let token = scene.token();
    let report = [&[0x16, 0, 0, 0, 239, 1, 2, 3][..], &token].concat();
    let header = Ipv4 {
        ttl: 1,
        ..Ipv4::new(own_v4(scene, CAGED), [239, 1, 2, 3].into(), 2)
    };
    let frame = Ethernet::new(mac, [1, 0, 0x5e, 1, 2, 3]).ip(&header.packet(&report));
    scene.frames_are_dropped("IGMP", (CAGED, WEB), &[frame], &token, denied);
}

/// A message about groups to the link, as its types have it.
fn listener_message(mac: [u8; 6], source: Ipv6Addr, kind: u8, rest: &[u8]) -> Vec<u8> {
    let message = icmp::message(source.into(), REPORTS.into(), kind, 0, rest);
    let header = Ipv6 {
        hop_limit: 1,
        ..Ipv6::new(source, REPORTS, icmp::ICMPV6)
    };
    let header = header.with(Extension::Plain(0, vec![5, 2, 0, 0, 1, 0]));
    Ethernet::new(mac, [0x33, 0x33, 0, 0, 0, 0x16]).ip(&header.packet(&message))
}

fn in_sources(scene: &mut Scene) {
    let group = [239, 1, 2, 3];
    let igmp = |scene: &Scene, from, payload: &[u8]| {
        let header = Ipv4 {
            ttl: 1,
            ..Ipv4::new(own_v4(scene, from), group.into(), 2)
        };
        let mut message = payload.to_vec();
        let sum = checksum(&[&message]).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
        Ethernet::new(scene.pod(from).mac, [1, 0, 0x5e, 1, 2, 3]).ip(&header.packet(&message))
    };
    // Nothing isolates the friend's egress: what it says is judged where it arrives, and no pod is a router.
    for (from, reports, queries) in [
        (
            CAGED,
            leaving(CAGED, Reason::Policy),
            leaving(CAGED, Reason::RouterMessage),
        ),
        (
            FRIEND,
            reaching(WEB, Reason::Policy),
            leaving(FRIEND, Reason::RouterMessage),
        ),
    ] {
        let (mac, own) = (scene.pod(from).mac, link_local(scene, from));
        for (is_query, denied) in [(false, reports), (true, queries)] {
            let token = scene.token();
            let mut sources = token.clone();
            sources.resize(token.len().next_multiple_of(16), 0);
            let count = u8::try_from(sources.len() / 16).unwrap();
            let (kind, rest) = if is_query {
                (
                    130,
                    [
                        &[0; 4][..],
                        &ALL_NODES.octets(),
                        &[2, 125, 0, count],
                        &sources,
                    ]
                    .concat(),
                )
            } else {
                let record = [0, 0, 0, 1, 5, 0, 0, count];
                (143, [&record[..], &ALL_NODES.octets(), &sources].concat())
            };
            let frame = listener_message(mac, own, kind, &rest);
            scene.frames_are_dropped("MLD", (from, WEB), &[frame], &token, denied);
            let token = scene.token();
            let mut sources = token.clone();
            sources.resize(token.len().next_multiple_of(4), 0);
            let count = u8::try_from(sources.len() / 4).unwrap();
            let message = if is_query {
                [&[0x11, 0, 0, 0][..], &group, &[2, 125, 0, count], &sources].concat()
            } else {
                let record = [0x22, 0, 0, 0, 0, 0, 0, 1, 5, 0, 0, count];
                [&record[..], &group, &sources].concat()
            };
            let frame = igmp(scene, from, &message);
            scene.frames_are_dropped("IGMP", (from, WEB), &[frame], &token, denied);
        }
    }
}

fn source_route(scene: &mut Scene) {
    for from in [FRIEND, CAGED] {
        for kind in [131, 137] {
            for (pointer, passes) in [(8, true), (4, false)] {
                let (source, to) = scene.ends(from, WEB, false, 53);
                let (src, dst) = v4(source, to);
                let token = scene.token();
                let header = Ipv4 {
                    options: vec![kind, 7, pointer, 192, 0, 2, 2],
                    ..Ipv4::new(src, dst, transport::UDP)
                };
                let packet = header.packet(&udp(source, to, &token));
                let what = format!("option {kind}, pointer {pointer}");
                if passes {
                    // Used up: whether routers carry it is their affair; we do not drop it.
                    let mark = scene.cluster.mark();
                    scene.send(from, WEB, &packet);
                    let (packet, token) = scene.datagram(from, WEB, false, 53);
                    scene.passes("what follows", from, WEB, &packet, &token);
                    let drops = scene.cluster.agent.drops_since(mark);
                    let ours = drops.iter().any(|drop| drop.pod.as_deref() == Some(from));
                    assert!(!ours, "{what}: {drops:#?}");
                } else {
                    let denied = leaving(from, Reason::RoutingHeader);
                    scene.is_dropped(&what, (from, WEB), &packet, &token, denied);
                }
            }
        }
    }
}

fn hardware_address(scene: &mut Scene) {
    for from in [FRIEND, CAGED] {
        for family in [false, true] {
            let (packet, token) = scene.datagram(from, WEB, family, 53);
            scene.passes("its own", from, WEB, &packet, &token);
            for claimed in [scene.pod(STRANGER).mac, [2, 0, 0, 0, 9, 9]] {
                let (packet, token) = scene.datagram(from, WEB, family, 53);
                let mut ethernet = scene.ethernet(from, WEB);
                ethernet.source = claimed;
                let denied = leaving(from, Reason::LinkAddress);
                let frame = ethernet.ip(&packet);
                scene.frames_are_dropped("another's", (from, WEB), &[frame], &token, denied);
            }
        }
    }
}

fn router_address(scene: &mut Scene) {
    let router: Ipv6Addr = "fe80::99".parse().unwrap();
    for from in [STRANGER, CAGED] {
        let mac = scene.pod(from).mac;
        for source in [link_local(scene, from), own_v6(scene, from)] {
            let mut rest = vec![0xa0, 0, 0, 0];
            rest.extend(router.octets());
            rest.extend([2, 1]);
            rest.extend(mac);
            let message = icmp::message(source.into(), ALL_NODES.into(), 136, 0, &rest);
            let header = Ipv6 {
                hop_limit: 255,
                ..Ipv6::new(source, ALL_NODES, icmp::ICMPV6)
            };
            let claim = header.packet(&message);
            let frame = Ethernet::new(mac, [0x33, 0x33, 0, 0, 0, 1]).ip(&claim);
            let denied = leaving(from, Reason::NeighbourSender);
            scene.frames_are_dropped("a router's", (from, WEB), &[frame], &claim, denied);
        }
    }
}

/// Everything but pods may reach `web` at this port.
const EXCEPT_PODS: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: except, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{ipBlock: {cidr: '::/0', except: ['fd00:1::/64']}}]
    ports: [{protocol: UDP, port: 5353}]
";

fn link_local_peer(scene: &mut Scene) {
    scene.cluster.apply("except.yaml", EXCEPT_PODS).unwrap();
    let web = link_local(scene, WEB);
    let datagram = |scene: &mut Scene, from: &str, port| {
        let source = SocketAddr::new(link_local(scene, from).into(), scene.number());
        let token = scene.token();
        let to = SocketAddr::new(web.into(), port);
        (transport::udp_packet(source, to, &token), token)
    };
    let (packet, token) = datagram(scene, FRIEND, 53);
    scene.passes("as the friend", FRIEND, WEB, &packet, &token);
    for (from, port) in [(STRANGER, 53), (STRANGER, 5353), (FRIEND, 5353)] {
        let (packet, token) = datagram(scene, from, port);
        let denied = reaching(WEB, Reason::Policy);
        let what = format!("{from} to port {port}");
        scene.is_dropped(&what, (from, WEB), &packet, &token, denied);
    }
    scene.cluster.remove("except.yaml").unwrap();
}

fn delivered_locally(scene: &mut Scene) {
    const IPIP: u8 = 4;
    let host = &scene.cluster.node.host;
    host.ip(&["route add local 198.51.100.0/24 dev lo"])
        .unwrap();
    let send = |scene: &mut Scene, to: IpAddr| {
        let mark = scene.cluster.mark();
        let own = scene.address(STRANGER, to.is_ipv6());
        let outer = ip::packet(own, to, IPIP, &[0x45; 40]);
        scene.send(STRANGER, "host", &outer);
        let within = std::time::Duration::from_millis(300);
        let dropped = scene.cluster.dropped(mark, within, |drop| {
            // The line about a packet before may come late.
            let about = drop.peer.as_ref();
            leaving(STRANGER, Reason::Encapsulation).is(drop)
                && about.is_some_and(|peer| peer.contains(&to.to_string()))
        });
        dropped.is_some()
    };
    // By a local route; the subnet of the node's uplink, and its anycast address.
    for to in ["198.51.100.77", "192.0.2.255", "2001:db8:ff::"] {
        let deadline = Instant::now() + 2 * SOON;
        while !send(scene, to.parse().unwrap()) {
            assert!(Instant::now() < deadline, "to {to}");
        }
    }
    assert!(!send(scene, "198.51.101.77".parse().unwrap()), "beside it");
    let host = &scene.cluster.node.host;
    host.ip(&["route del local 198.51.100.0/24 dev lo"])
        .unwrap();
}

fn macvlan_child(scene: &mut Scene) {
    // One that has a name and a number on the node; one that has neither, as has one that is nested in a pod's.
    for child in [Netns::new("child").unwrap(), Netns::unnamed().unwrap()] {
        child_of_the_bridge(scene, &child);
    }
}

fn child_of_the_bridge(scene: &mut Scene, child: &Netns) {
    let host = &scene.cluster.node.host;
    let path = format!("/proc/{}/fd/{}", std::process::id(), child.handle().fd());
    host.ip(&[
        format!("link add mv0 link {BRIDGE} type macvlan mode bridge"),
        format!("link set mv0 netns {path} name {INSIDE}"),
    ])
    .unwrap();
    child
        .ip(&[
            format!("addr add 10.1.0.77/24 dev {INSIDE}"),
            format!("addr add fd00:1::77/64 dev {INSIDE} nodad"),
            format!("link set {INSIDE} up"),
        ])
        .unwrap();
    let told = is_helper_supported(
        ProgramType::SchedClassifier,
        BpfHelper::BPF_FUNC_get_netns_cookie,
    )
    .unwrap();
    let ways = [Protocol::Udp, Protocol::Tcp].map(|one| [(one, false), (one, true)]);
    for (protocol, family) in ways.concat() {
        let web = SocketAddr::new(scene.address(WEB, family), 54);
        let _server = Server::start(scene.netns(WEB), protocol, web).unwrap();
        let outcome = probe(&scene.cluster.node.host, protocol, None, web, SOON).unwrap();
        assert_eq!(outcome, Outcome::Allowed, "the node itself");
        let mark = scene.cluster.mark();
        let within = std::time::Duration::from_millis(500);
        let outcome = probe(child, protocol, None, web, within).unwrap();
        if told {
            assert_eq!(outcome, Outcome::Denied, "the container");
            scene.awaits_drop("the container", mark, reaching(WEB, Reason::Policy));
        } else {
            assert_eq!(outcome, Outcome::Allowed, "what older kernels cannot tell");
        }
    }
    child.ip(&[format!("link del {INSIDE}")]).unwrap();
}

fn class(scene: &mut Scene) {
    const TC_ACT_OK: i32 = 0;
    for value in [1, 0x10, 0x7fff] {
        let mut filter = Foreign::stamping("class", value, TC_ACT_OK).unwrap();
        let host = &scene.cluster.node.host;
        let _attached = filter
            .attach(host, BRIDGE, Egress, Place::Clsact(5))
            .unwrap();
        for family in [false, true] {
            let web = SocketAddr::new(scene.address(WEB, family), 55);
            let _server = Server::start(scene.netns(WEB), Protocol::Udp, web).unwrap();
            let outcome = probe(&scene.cluster.node.host, Protocol::Udp, None, web, SOON).unwrap();
            assert_eq!(outcome, Outcome::Allowed, "class {value:#x}");
            let (packet, token) = scene.datagram(STRANGER, WEB, family, 55);
            let denied = reaching(WEB, Reason::Policy);
            scene.is_dropped("a stranger", (STRANGER, WEB), &packet, &token, denied);
        }
    }
}
