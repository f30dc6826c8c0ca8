//! The harness itself: what it builds behaves like a network.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    net::{IpAddr, SocketAddr},
    panic,
    time::Duration,
};

use policy_harness::{
    Netns, Node, Wiring,
    topology::{INSIDE, OUTSIDE_V4, OUTSIDE_V6},
    traffic::{Connection, Outcome, Protocol, Server, ping, probe},
    wire::{Ethernet, Ipv4, Ipv6, Port, Tcp, icmp, ip::Extension, transport, udp},
};

const SOON: Duration = Duration::from_secs(10);
/// Long enough for an answer that would come; each test that awaits silence pays it.
const SILENCE: Duration = Duration::from_millis(300);

const A: [&str; 2] = ["10.1.0.10", "fd00:1::10"];
const B: [&str; 2] = ["10.1.0.20", "fd00:1::20"];
/// Another subnet than the others.
const C: [&str; 2] = ["10.2.0.30", "fd00:2::30"];

fn parse(addresses: [&str; 2]) -> [IpAddr; 2] {
    addresses.map(|address| address.parse().unwrap())
}

fn node(wiring: Wiring) -> Node {
    let mut node = Node::new("node-t", wiring).unwrap();
    for (name, addresses) in [("a", A), ("b", B), ("c", C)] {
        node.add_pod(name, &parse(addresses)).unwrap();
    }
    node
}

fn everybody_reaches_everybody(wiring: Wiring) {
    let node = node(wiring);
    let outside = parse([OUTSIDE_V4, OUTSIDE_V6]);
    let places: Vec<(&Netns, [IpAddr; 2])> = vec![
        (&node.pod("a").unwrap().netns, parse(A)),
        (&node.pod("b").unwrap().netns, parse(B)),
        (&node.pod("c").unwrap().netns, parse(C)),
        (&node.outside, outside),
    ];
    for (to, addresses) in &places {
        for address in addresses {
            for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
                let address = SocketAddr::new(*address, 8080);
                let _server = Server::start(to, protocol, address).unwrap();
                for from in places.iter().map(|(from, _)| *from).chain([&node.host]) {
                    let outcome = probe(from, protocol, None, address, SOON).unwrap();
                    assert_eq!(
                        outcome,
                        Outcome::Allowed,
                        "{protocol:?} {} {address}",
                        from.name()
                    );
                }
            }
            for (from, _) in &places {
                let outcome = ping(from, *address, SOON).unwrap();
                assert_eq!(outcome, Outcome::Allowed, "{} {address}", from.name());
            }
        }
    }
}

#[test]
fn routed_pods_the_host_and_the_outside_reach_each_other() {
    everybody_reaches_everybody(Wiring::Routed);
}

#[test]
fn bridged_pods_the_host_and_the_outside_reach_each_other() {
    everybody_reaches_everybody(Wiring::Bridged);
}

#[test]
fn what_is_filtered_is_denied_and_what_nobody_serves_is_an_error() {
    let node = node(Wiring::Routed);
    let (a, b) = (node.pod("a").unwrap(), node.pod("b").unwrap());
    let served = SocketAddr::new(b.v4().unwrap(), 80);
    let _servers = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
        .map(|protocol| Server::start(&b.netns, protocol, served).unwrap());
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let nobody = SocketAddr::new(b.v4().unwrap(), 81);
        assert!(probe(&a.netns, protocol, None, nobody, SOON).is_err());
    }
    let mut open = Connection::open(&a.netns, None, served, SOON)
        .unwrap()
        .unwrap();
    assert_eq!(open.exchange(SOON).unwrap(), Outcome::Allowed);
    let blackhole = format!(
        "rule add from {} iif {} blackhole pref 5",
        A[0], a.interface
    );
    node.host.ip(&[blackhole]).unwrap();
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        let outcome = probe(&a.netns, protocol, None, served, SILENCE).unwrap();
        assert_eq!(outcome, Outcome::Denied, "{protocol:?}");
    }
    assert_eq!(
        ping(&a.netns, served.ip(), SILENCE).unwrap(),
        Outcome::Denied
    );
    assert_eq!(open.exchange(SILENCE).unwrap(), Outcome::Denied);
    node.host.ip(&["rule del pref 5"]).unwrap();
    assert_eq!(open.exchange(SOON).unwrap(), Outcome::Allowed);
}

#[test]
fn the_outside_takes_addresses_and_pods_come_and_go() {
    let mut node = node(Wiring::Routed);
    let address: IpAddr = "192.168.5.10".parse().unwrap();
    node.add_outside_address(address).unwrap();
    assert_eq!(
        ping(&node.pod("a").unwrap().netns, address, SOON).unwrap(),
        Outcome::Allowed
    );
    node.remove_pod("a").unwrap();
    assert!(node.pod("a").is_err());
    node.add_pod("a2", &parse(A)).unwrap();
    let to = node.pod("b").unwrap().v6().unwrap();
    assert_eq!(
        ping(&node.pod("a2").unwrap().netns, to, SOON).unwrap(),
        Outcome::Allowed
    );
}

#[test]
fn a_namespace_is_gone_after_a_panic() {
    let path = std::sync::Mutex::new(None);
    let panicked = panic::catch_unwind(|| {
        let netns = Netns::new("node-t").unwrap();
        *path.lock().unwrap() = Some(netns.path());
        netns.run(|| panic!("as tests do")).unwrap();
    });
    assert!(panicked.is_err());
    let path = path.into_inner().unwrap().unwrap();
    assert!(!path.exists(), "{}", path.display());
}

/// Sends packets from pod a to pod b and expects the kernel there to answer.
struct Crafting {
    node: Node,
    port: Port,
}

impl Crafting {
    fn new() -> Self {
        let node = node(Wiring::Routed);
        let port = Port::open(&node.pod("a").unwrap().netns, INSIDE).unwrap();
        Self { node, port }
    }

    fn send(&self, packet: &[u8]) {
        let a = self.node.pod("a").unwrap();
        self.port
            .send(&Ethernet::new(a.mac, a.gateway).ip(packet))
            .unwrap();
    }

    fn answered(&self, what: &str, protocol: u8, kind: impl Fn(&[u8]) -> bool) {
        let a = self.node.pod("a").unwrap();
        let found = self.port.capture(SOON, |frame| {
            let header = if frame[12..14] == [8, 0] { 34 } else { 54 };
            let to_us = frame[..6] == a.mac && frame.len() > header + 8;
            let place = if header == 34 { 23 } else { 20 };
            to_us && frame[place] == protocol && kind(&frame[header..])
        });
        assert!(found.unwrap().is_some(), "{what} was not answered");
    }
}

#[test]
fn the_kernel_accepts_the_checksums_of_crafted_packets() {
    let crafting = Crafting::new();
    let b = crafting.node.pod("b").unwrap();
    for v6 in [false, true] {
        let source = SocketAddr::new(parse(A)[usize::from(v6)], 5555);
        let server = SocketAddr::new(parse(B)[usize::from(v6)], 8080);
        let _tcp = Server::start(&b.netns, Protocol::Tcp, server).unwrap();
        let _udp = Server::start(&b.netns, Protocol::Udp, server).unwrap();

        crafting.send(&Tcp::new(transport::flag::SYN).packet(source, server));
        crafting.answered("SYN", transport::TCP, |tcp| tcp.get(13) == Some(&0x12));
        crafting.send(&transport::udp_packet(source, server, b"odd"));
        crafting.answered("UDP", transport::UDP, |udp| udp.ends_with(b"odd"));
        let echo = icmp::echo_request(source.ip(), server.ip(), 7, 1);
        let protocol = icmp::protocol(server.ip());
        crafting.send(&policy_harness::wire::ip::packet(
            source.ip(),
            server.ip(),
            protocol,
            &echo,
        ));
        let reply = icmp::echo_reply(server.ip(), source.ip(), 7, 1);
        crafting.answered("echo", protocol, |message| message.starts_with(&reply));
    }
}

#[test]
fn the_kernel_reassembles_fragments_and_walks_options_and_extension_headers() {
    let crafting = Crafting::new();
    let b = crafting.node.pod("b").unwrap();
    let ends = |v6: usize| {
        (
            SocketAddr::new(parse(A)[v6], 5555),
            SocketAddr::new(parse(B)[v6], 8080),
        )
    };
    let words: Vec<u8> = (0..200).collect();
    let (source, server) = ends(0);
    let _v4 = Server::start(&b.netns, Protocol::Udp, server).unwrap();
    let (IpAddr::V4(from), IpAddr::V4(to)) = (source.ip(), server.ip()) else {
        unreachable!()
    };
    let datagram = udp(source, server, &words);
    let mut header = Ipv4::new(from, to, transport::UDP);
    let last = |udp: &[u8]| udp.ends_with(&words);
    for fragment in header.fragments(&datagram, 64).iter().rev() {
        crafting.send(fragment);
    }
    crafting.answered("IPv4 fragments", transport::UDP, last);
    header.options = vec![1; 7];
    crafting.send(&header.packet(&datagram));
    crafting.answered("IPv4 options", transport::UDP, last);

    let (source, server) = ends(1);
    let _v6 = Server::start(&b.netns, Protocol::Udp, server).unwrap();
    let (IpAddr::V6(from), IpAddr::V6(to)) = (source.ip(), server.ip()) else {
        unreachable!()
    };
    let datagram = udp(source, server, &words);
    let header = Ipv6::new(from, to, transport::UDP);
    for fragment in header.fragments(&datagram, 64, 99) {
        crafting.send(&fragment);
    }
    crafting.answered("IPv6 fragments", transport::UDP, last);
    for extensions in [
        vec![Extension::Plain(0, vec![])],
        // An option of an unknown type that says: skip me.
        vec![Extension::Plain(
            60,
            [&[0x1e, 12][..], &[0xff; 12]].concat(),
        )],
        vec![
            Extension::Plain(0, vec![]),
            Extension::Fragment {
                offset: 0,
                more: false,
                id: 5,
            },
            Extension::Plain(60, vec![0]),
        ],
    ] {
        let what = format!("{extensions:?}");
        let header = Ipv6 {
            extensions,
            ..header.clone()
        };
        crafting.send(&header.packet(&datagram));
        crafting.answered(&what, transport::UDP, last);
    }
}
