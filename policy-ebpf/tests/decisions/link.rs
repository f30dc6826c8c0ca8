//! What keeps the link alive passes; what only looks like it does not.

use policy_common::{
    Endpoint, EndpointId, IdentityId,
    Reason::{
        ArpSender, LinkControl, Malformed, NeighbourSender, Policy, RouterMessage, SourceAddress,
    },
};

use crate::{
    frames::{Header, ICMP, ICMPV6, PLAIN, fragment_header, frame, icmp, ip_with},
    node::{CLIENT, FRIEND, HOST, Node, OWN, v6},
};

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

fn arp(sender: &str) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9];
    packet.extend(crate::node::v4(sender).0);
    packet.extend([0; 10]);
    frame(0x0806, &packet)
}

/// Neighbour discovery about `target`, with `options` bytes of options.
fn neighbour(source: &str, to: &str, hops: u8, kind: u8, target: &str, options: usize) -> Vec<u8> {
    let mut rest = vec![0; 4];
    rest.extend(v6(target).0);
    rest.resize(rest.len() + options, 1);
    ip_with(
        Header { hops, ..PLAIN },
        source,
        to,
        ICMPV6,
        &icmp(kind, 0, &rest),
    )
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
    let question = neighbour(OWN[1], "ff02::1:ff00:1", 255, SOLICITATION, FRIEND[1], 8);
    assert_eq!(node.sends(&question), LinkControl);
    let answer = neighbour(OWN[1], FRIEND[1], 255, ADVERTISEMENT, OWN[1], 8);
    assert_eq!(node.sends(&answer), LinkControl);
    let to_us = neighbour("fe80::1", OWN[1], 255, SOLICITATION, OWN[1], 8);
    assert_eq!(node.receives(&to_us), LinkControl);
    let routed = neighbour("fe80::1", OWN[1], 254, SOLICITATION, OWN[1], 8);
    assert_eq!(node.receives(&routed), Policy, "a router passed it on");
}

#[test]
fn a_pod_advertises_nobody_elses_address() {
    for node in [Node::new(), Node::new().with(0)] {
        for forged in [FRIEND[1], HOST[1]] {
            let frame = neighbour(OWN[1], "ff02::1", 255, ADVERTISEMENT, forged, 8);
            assert_eq!(node.sends(&frame), NeighbourSender, "{forged}");
        }
        let own = neighbour("::", "ff02::1:ff00:9", 255, SOLICITATION, OWN[1], 0);
        assert_eq!(node.sends(&own), LinkControl);
        let taken = neighbour("::", "ff02::1:ff00:2", 255, SOLICITATION, FRIEND[1], 0);
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
    let data = neighbour(OWN[1], "2001:db8::77", 255, SOLICITATION, FRIEND[1], 200);
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
            let frame = neighbour(OWN[1], "ff02::1", 255, kind, OWN[1], 0);
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
    let report = |to, hops| {
        ip_with(
            Header { hops, ..PLAIN },
            "fe80::9",
            to,
            ICMPV6,
            &icmp(143, 0, &[0; 24]),
        )
    };
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
    let to_us = neighbour("fe80::1", OWN[1], 255, SOLICITATION, OWN[1], 8);
    assert_eq!(node.receives(&to_us), LinkControl);
    let answer = neighbour(OWN[1], "fe80::1", 255, ADVERTISEMENT, OWN[1], 8);
    assert_eq!(node.sends(&answer), LinkControl);
}

#[test]
fn an_unknown_pod_takes_no_address_of_the_host_or_of_another_endpoint() {
    let mut node = Node::new().with(Endpoint::UNKNOWN);
    node.put(CLIENT, IdentityId(21), EndpointId(6), 0);
    for taken in [HOST, CLIENT] {
        assert_eq!(node.sends(&arp(taken[0])), ArpSender);
        let advertisement = neighbour(taken[1], "ff02::1", 255, ADVERTISEMENT, taken[1], 8);
        assert_eq!(node.sends(&advertisement), NeighbourSender);
    }
    // Nobody's yet: it may be the pod's own.
    assert_eq!(node.sends(&arp("10.0.0.99")), LinkControl);
}
