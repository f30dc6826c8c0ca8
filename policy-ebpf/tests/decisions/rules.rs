//! What rules say, of peers of every kind and both families.

use policy_common::{
    Endpoint, IdentityId, PortEntry, PortKey, PortSet, PortSetId,
    Reason::{Allowed, NotIsolated, Policy, UnknownEndpoint},
    Verdict,
};

use crate::{
    frames::{ICMP, SCTP, SYN, TCP, UDP, echo, icmp, ip, sctp, tcp, udp},
    node::{CLIENT, FRIEND, HOST, Node, OWN, STRANGER, v4},
};

#[test]
fn a_rule_opens_its_ports_and_no_others_in_both_families() {
    for family in 0..2 {
        let syn = |port| ip(CLIENT[family], OWN[family], TCP, &tcp(4000, port, SYN));
        let datagram = |port| ip(CLIENT[family], OWN[family], UDP, &udp(4000, port));
        let node = Node::new();
        assert_eq!(node.receives(&syn(80)), Allowed);
        assert_eq!(
            node.receives(&syn(53)),
            Policy,
            "that port is of another protocol"
        );
        assert_eq!(node.receives(&datagram(53)), Allowed);
        assert_eq!(node.receives(&datagram(80)), Policy);
    }
}

#[test]
fn a_rule_with_ports_does_not_allow_protocols_without_ports() {
    let node = Node::new();
    assert_eq!(
        node.receives(&ip(CLIENT[0], OWN[0], ICMP, &echo(8, 1))),
        Policy
    );
    assert_eq!(node.receives(&ip(CLIENT[0], OWN[0], 50, &[0; 8])), Policy);
    assert_eq!(
        node.receives(&ip(FRIEND[0], OWN[0], ICMP, &echo(8, 1))),
        Allowed
    );
    assert_eq!(
        node.receives(&ip(FRIEND[0], OWN[0], ICMP, &icmp(13, 0, &[0; 16]))),
        Allowed
    );
    assert_eq!(node.receives(&ip(FRIEND[0], OWN[0], 50, &[0; 8])), Allowed);
    assert_eq!(
        node.receives(&ip(FRIEND[0], OWN[0], SCTP, &sctp(1, 2, 1))),
        Allowed
    );
}

#[test]
fn port_zero_is_a_port() {
    const NOBODYS: PortSetId = PortSetId(8);
    let mut node = Node::new();
    let mut set = PortSet {
        count: 2,
        ..PortSet::default()
    };
    for (entry, protocol) in set.inline.iter_mut().zip([TCP, 50]) {
        *entry = PortEntry {
            mask: 0xffff,
            protocol,
            verdict: Verdict::ALLOW,
            ..PortEntry::default()
        };
    }
    node.world.port_sets.insert(NOBODYS, set);
    node.rule(IdentityId(21), NOBODYS);
    for family in 0..2 {
        let asks = |protocol, content: &[u8]| ip(CLIENT[family], OWN[family], protocol, content);
        assert_eq!(node.receives(&asks(TCP, &tcp(4000, 0, SYN))), Allowed);
        assert_eq!(node.receives(&asks(TCP, &tcp(4000, 1, SYN))), Policy);
        // Port 0 of a protocol without ports is none.
        assert_eq!(node.receives(&asks(50, &[0; 8])), Policy);
    }
}

#[test]
fn egress_is_judged_by_the_destination() {
    let node = Node::new();
    assert_eq!(
        node.sends(&ip(OWN[0], CLIENT[0], TCP, &tcp(1, 80, SYN))),
        Allowed
    );
    assert_eq!(
        node.sends(&ip(OWN[0], CLIENT[0], TCP, &tcp(80, 1, SYN))),
        Policy
    );
    assert_eq!(
        node.sends(&ip(OWN[0], STRANGER[0], TCP, &tcp(1, 80, SYN))),
        Policy
    );
    assert_eq!(
        node.sends(&ip(OWN[0], HOST[0], TCP, &tcp(1, 22, SYN))),
        Allowed
    );
}

#[test]
fn a_direction_without_policy_is_open_and_the_other_is_not() {
    let node = Node::new().with(Endpoint::INGRESS_ISOLATED);
    assert_eq!(
        node.sends(&ip(OWN[0], STRANGER[0], TCP, &tcp(1, 9, SYN))),
        NotIsolated
    );
    assert_eq!(
        node.receives(&ip(STRANGER[0], OWN[0], TCP, &tcp(1, 9, SYN))),
        Policy
    );
}

#[test]
fn blocks_count_only_for_addresses_without_an_entry_and_rulesets_with_blocks() {
    let mut node = Node::new();
    node.world
        .cidrs_v4
        .insert((v4("192.0.2.0"), 24), IdentityId(22));
    node.world
        .cidrs_v4
        .insert((v4("192.0.2.64"), 26), IdentityId(30));
    node.world
        .cidrs_v4
        .insert((v4("10.0.0.0"), 8), IdentityId(22));
    let syn = |from| ip(from, OWN[0], TCP, &tcp(1, 9, SYN));
    assert_eq!(node.receives(&syn("192.0.2.7")), Policy);
    node.endpoint().flags |= Endpoint::INGRESS_BLOCKS;
    assert_eq!(node.receives(&syn("192.0.2.7")), Allowed);
    assert_eq!(
        node.receives(&syn(STRANGER[0])),
        Policy,
        "the longer prefix counts"
    );
    assert_eq!(
        node.receives(&syn(CLIENT[0])),
        Policy,
        "the address has an entry"
    );
}

#[test]
fn a_set_in_the_trie_means_the_longest_prefix() {
    let mut node = Node::new();
    let set = PortSetId(9);
    node.world.port_sets.insert(
        set,
        PortSet {
            in_trie: 1,
            ..PortSet::default()
        },
    );
    for (port, bits, verdict) in [(0, 0, Verdict::ALLOW), (0x1f00, 8, Verdict::DENY)] {
        let key = (PortKey::new(set, TCP, port), PortKey::PROTOCOL_BITS + bits);
        node.world.ports.insert(key, verdict);
    }
    node.rule(IdentityId(21), set);
    let syn = |port| ip(CLIENT[0], OWN[0], TCP, &tcp(1, port, SYN));
    assert_eq!(node.receives(&syn(80)), Allowed);
    assert_eq!(node.receives(&syn(0x1f90)), Policy);
    assert_eq!(
        node.receives(&ip(CLIENT[0], OWN[0], UDP, &udp(1, 80))),
        Policy
    );
}

#[test]
fn a_port_set_that_is_not_there_denies() {
    let mut node = Node::new();
    node.rule(IdentityId(22), PortSetId(99));
    assert_eq!(
        node.receives(&ip(FRIEND[0], OWN[0], UDP, &udp(1, 2))),
        Policy
    );
}

#[test]
fn an_unknown_pod_talks_to_nobody_but_the_host() {
    let node = Node::new().with(Endpoint::UNKNOWN);
    let to = |address| ip(OWN[0], address, UDP, &udp(1, 2));
    assert_eq!(node.sends(&to(FRIEND[0])), UnknownEndpoint);
    assert_eq!(node.sends(&to(HOST[0])), policy_common::Reason::Host);
    assert_eq!(
        node.receives(&ip(FRIEND[0], OWN[0], UDP, &udp(1, 2))),
        UnknownEndpoint
    );
}
