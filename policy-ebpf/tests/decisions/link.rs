//! What keeps the link alive passes; what only looks like it does not.

use policy_common::{
    Endpoint, EndpointId, IdentityId,
    Reason::{
        ArpSender, Host as HostReason, LinkControl, Malformed, NeighbourSender, Policy,
        RouterMessage, SourceAddress, UnknownEndpoint,
    },
};

use crate::{
    frames::{
        FROM, Header, ICMP, ICMPV6, PLAIN, UDP, fragment_header, frame, icmp, ip, ip_with,
        listener_report, udp,
    },
    node::{CLIENT, FRIEND, HOST, Node, OWN, v4, v6},
};

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// A question by ARP.
fn arp(sender: &str) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1];
    packet.extend(FROM);
    packet.extend(crate::node::v4(sender).0);
    packet.extend([0; 10]);
    frame(0x0806, &packet)
}

/// The option that gives the frame's own address, for this type of message.
fn own_address(kind: u8) -> Vec<u8> {
    let option = if kind == ADVERTISEMENT { 2 } else { 1 };
    [&[option, 1][..], &FROM].concat()
}

/// Neighbour discovery about `target`, with options.
fn discovery(source: &str, to: &str, hops: u8, kind: u8, target: &str, options: &[u8]) -> Vec<u8> {
    let mut rest = vec![0; 4];
    rest.extend(v6(target).0);
    rest.extend(options);
    ip_with(
        Header { hops, ..PLAIN },
        source,
        to,
        ICMPV6,
        &icmp(kind, 0, &rest),
    )
}

/// The same with the option that everybody sends.
fn neighbour(source: &str, to: &str, hops: u8, kind: u8, target: &str) -> Vec<u8> {
    let option = if source == "::" {
        Vec::new()
    } else {
        own_address(kind)
    };
    discovery(source, to, hops, kind, target, &option)
}

#[test]
fn arp_in_the_pods_own_name_passes_and_in_anothers_does_not() {
    for node in [Node::new(), Node::new().with(0)] {
        assert_eq!(node.sends(&arp(OWN[0])), LinkControl);
        assert_eq!(
            node.sends(&arp("0.0.0.0")),
            LinkControl,
            "a probe has no sender"
        );
        assert_eq!(node.sends(&arp(FRIEND[0])), ArpSender);
        assert_eq!(node.sends(&arp(HOST[0])), ArpSender);
        assert_eq!(node.receives(&arp(HOST[0])), LinkControl);
    }
}

#[test]
fn arp_of_other_kinds_is_malformed() {
    let mut infiniband = arp(OWN[0]);
    infiniband[15] = 32;
    assert_eq!(Node::new().sends(&infiniband), Malformed);
    assert_eq!(Node::new().sends(&arp(OWN[0])[..20]), Malformed);
}

#[test]
fn neighbour_discovery_with_hop_limit_255_passes_both_ways() {
    let node = Node::new();
    let question = neighbour(OWN[1], "ff02::1:ff00:1", 255, SOLICITATION, FRIEND[1]);
    assert_eq!(node.sends(&question), LinkControl);
    let answer = neighbour(OWN[1], HOST[1], 255, ADVERTISEMENT, OWN[1]);
    assert_eq!(node.sends(&answer), LinkControl);
    let to_us = neighbour("fe80::1", OWN[1], 255, SOLICITATION, OWN[1]);
    assert_eq!(node.receives(&to_us), LinkControl);
    let routed = neighbour("fe80::1", OWN[1], 254, SOLICITATION, OWN[1]);
    assert_eq!(node.receives(&routed), Policy, "a router passed it on");
}

#[test]
fn a_pod_advertises_nobody_elses_address() {
    for node in [Node::new(), Node::new().with(0)] {
        for forged in [FRIEND[1], HOST[1]] {
            let frame = neighbour(OWN[1], "ff02::1", 255, ADVERTISEMENT, forged);
            assert_eq!(node.sends(&frame), NeighbourSender, "{forged}");
        }
        let own = neighbour("::", "ff02::1:ff00:9", 255, SOLICITATION, OWN[1]);
        assert_eq!(node.sends(&own), LinkControl);
        let taken = neighbour("::", "ff02::1:ff00:2", 255, SOLICITATION, FRIEND[1]);
        assert_eq!(
            node.sends(&taken),
            NeighbourSender,
            "detection blocks its owner"
        );
    }
}

#[test]
fn neighbour_discovery_to_global_addresses_carries_no_data() {
    let node = Node::new();
    let data = discovery(
        OWN[1],
        "2001:db8::77",
        255,
        SOLICITATION,
        FRIEND[1],
        &[1; 200],
    );
    assert_eq!(node.sends(&data), Policy);
    let header = fragment_header(0, false, 1);
    let mut rest = vec![0; 4];
    rest.extend(v6(OWN[1]).0);
    let atomic = Header {
        hops: 255,
        extensions: &[(44, &header)],
        ..PLAIN
    };
    let frame = ip_with(
        atomic,
        OWN[1],
        "ff02::1",
        ICMPV6,
        &icmp(ADVERTISEMENT, 0, &rest),
    );
    assert_eq!(node.sends(&frame), Policy, "RFC 6980: never in fragments");
}

#[test]
fn router_advertisements_and_redirects_of_pods_are_dropped() {
    for node in [Node::new(), Node::new().with(0)] {
        for kind in [134, 137] {
            let frame = neighbour(OWN[1], "ff02::1", 255, kind, OWN[1]);
            assert_eq!(node.sends(&frame), RouterMessage);
        }
        for kind in [5, 9] {
            let message = icmp(kind, 0, &[0; 24]);
            assert_eq!(
                node.sends(&ip_with(PLAIN, OWN[0], FRIEND[0], ICMP, &message)),
                RouterMessage
            );
        }
    }
}

#[test]
fn listener_discovery_passes_only_to_the_link_with_hop_limit_1() {
    let node = Node::new();
    let report = |to, hops| listener_report("fe80::9", to, hops, &["ff02::1:ff00:9"]);
    assert_eq!(node.sends(&report("ff02::16", 1)), LinkControl);
    assert_eq!(node.sends(&report("ff02::16", 64)), Policy);
    assert_eq!(
        node.sends(&report("ff0e::16", 1)),
        SourceAddress,
        "beyond the link"
    );
}

#[test]
fn igmp_passes_only_to_groups_with_ttl_1() {
    let node = Node::new();
    let report = |to, hops| {
        node.sends(&ip_with(
            Header { hops, ..PLAIN },
            OWN[0],
            to,
            2,
            &[0x16, 0, 0, 0, 224, 0, 0, 9],
        ))
    };
    assert_eq!(report("224.0.0.22", 1), LinkControl);
    assert_eq!(report("224.0.0.22", 2), Policy);
    assert_eq!(report("192.0.2.77", 1), Policy);
}

#[test]
fn an_unknown_pod_keeps_its_link() {
    let node = Node::new().with(Endpoint::UNKNOWN);
    assert_eq!(node.sends(&arp(OWN[0])), LinkControl);
    let to_us = neighbour("fe80::1", OWN[1], 255, SOLICITATION, OWN[1]);
    assert_eq!(node.receives(&to_us), LinkControl);
    let answer = neighbour(OWN[1], "fe80::1", 255, ADVERTISEMENT, OWN[1]);
    assert_eq!(node.sends(&answer), LinkControl);
}

#[test]
fn an_unknown_pod_takes_no_address_but_those_that_it_came_with() {
    let mut node = Node::new().with(Endpoint::UNKNOWN);
    node.put(CLIENT, IdentityId(21), EndpointId(6), 0);
    for taken in [HOST, CLIENT, FRIEND, ["10.0.0.99", "fd00::99"]] {
        assert_eq!(node.sends(&arp(taken[0])), ArpSender);
        let claim = neighbour(OWN[1], "ff02::1", 255, ADVERTISEMENT, taken[1]);
        assert_eq!(node.sends(&claim), NeighbourSender);
        for family in 0..2 {
            let datagram = ip(taken[family], HOST[family], UDP, &udp(1, 53));
            assert_eq!(node.sends(&datagram), SourceAddress);
        }
    }
    for family in 0..2 {
        let datagram = ip(OWN[family], HOST[family], UDP, &udp(1, 53));
        assert_eq!(node.sends(&datagram), HostReason);
    }
    // Nothing was seen of it yet: it may ask for an address, and whether one is taken.
    (node.endpoint().v4, node.endpoint().v6) = Default::default();
    node.world.addresses_v4.remove(&v4(OWN[0]));
    assert_eq!(node.sends(&arp(OWN[0])), ArpSender);
    assert_eq!(node.sends(&arp("0.0.0.0")), LinkControl);
    let dhcp = ip("0.0.0.0", "255.255.255.255", UDP, &udp(68, 67));
    assert_eq!(
        node.sends(&dhcp),
        UnknownEndpoint,
        "the source is no forgery"
    );
}
