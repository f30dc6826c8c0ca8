//! A pod with closed egress calls Services: judged by who is reached, never by the address that it calls.

use policy_common::{
    AddressEntry, Endpoint, EndpointId, IdentityId, PortSetId,
    Reason::{Allowed, Flow, Policy},
    RuleKey,
};
use policy_ebpf::Stamp;

use crate::{
    frames::{ACK, ICMP, SYN, TCP, UDP, icmp, ip, tcp, udp},
    node::{Node, OWN, STRANGER, v4, v6},
    owed::{BRIDGE, CALLER, CALLER_ADDRESSES, CALLER_PORT, arrives, caller, node, sends},
};

/// In the ranges of Services.
const SERVICE: [&str; 2] = ["10.96.0.10", "fd96::10"];

fn with_services() -> Node {
    let mut node = node();
    node.world.services_v4.insert((v4("10.96.0.0"), 12), 1);
    node.world.services_v6.insert((v6("fd96::"), 108), 1);
    caller(&mut node).flags |= Endpoint::SERVICES;
    node
}

#[test]
fn what_goes_to_a_service_is_owed_with_every_packet() {
    let node = with_services();
    for family in 0..2 {
        let (own, service) = (CALLER_ADDRESSES[family], SERVICE[family]);
        let syn = ip(own, service, TCP, &tcp(4000, 80, SYN));
        assert_eq!(sends(&node, &syn), (Allowed, Stamp::owed(CALLER)));
        for _ in 0..3 {
            let data = ip(own, service, TCP, &tcp(4000, 80, ACK));
            assert_eq!(sends(&node, &data), (Flow, Stamp::owed(CALLER)));
            let question = ip(own, service, UDP, &udp(4000, 53));
            assert_eq!(sends(&node, &question).1, Stamp::owed(CALLER));
        }
    }
}

#[test]
fn where_nobody_judges_later_a_services_address_is_one_as_any_other() {
    let mut node = with_services();
    caller(&mut node).flags &= !Endpoint::SERVICES;
    for family in 0..2 {
        let (own, service) = (CALLER_ADDRESSES[family], SERVICE[family]);
        let syn = ip(own, service, TCP, &tcp(4000, 80, SYN));
        assert_eq!(sends(&node, &syn), (Policy, Stamp::judged(CALLER)));
    }
}

#[test]
fn a_flow_follows_when_services_begin_or_cease_to_be_judged_later() {
    let mut node = with_services();
    for family in 0..2 {
        caller(&mut node).flags |= Endpoint::SERVICES;
        caller(&mut node).epoch += 1;
        let (own, service) = (CALLER_ADDRESSES[family], SERVICE[family]);
        let syn = ip(own, service, TCP, &tcp(4000, 80, SYN));
        let data = ip(own, service, TCP, &tcp(4000, 80, ACK));
        assert_eq!(sends(&node, &syn), (Allowed, Stamp::owed(CALLER)));
        caller(&mut node).flags &= !Endpoint::SERVICES;
        caller(&mut node).epoch += 1;
        assert!(sends(&node, &data).0.is_drop());
        caller(&mut node).flags |= Endpoint::SERVICES;
        caller(&mut node).epoch += 1;
        assert_eq!(sends(&node, &data), (Flow, Stamp::owed(CALLER)));
    }
}

#[test]
fn a_pod_in_a_range_of_services_is_a_pod() {
    let mut node = with_services();
    node.put(
        ["10.96.0.7", "fd96::7"],
        IdentityId(20),
        EndpointId::NONE,
        0,
    );
    for (family, to) in ["10.96.0.7", "fd96::7"].into_iter().enumerate() {
        let own = CALLER_ADDRESSES[family];
        let allowed = ip(own, to, TCP, &tcp(4000, 80, SYN));
        assert_eq!(sends(&node, &allowed), (Allowed, Stamp::judged(CALLER)));
        let denied = ip(own, to, TCP, &tcp(4000, 81, SYN));
        assert_eq!(sends(&node, &denied).0, Policy);
    }
}

#[test]
fn an_address_of_this_host_in_a_range_of_services_is_the_hosts() {
    let mut node = with_services();
    let flags = AddressEntry::HOST;
    node.put(SERVICE, IdentityId::WORLD, EndpointId::NONE, flags);
    for family in 0..2 {
        let syn = ip(
            CALLER_ADDRESSES[family],
            SERVICE[family],
            TCP,
            &tcp(4000, 80, SYN),
        );
        assert_eq!(sends(&node, &syn), (Allowed, Stamp::owed(CALLER)));
    }
}

/// It once belonged to the flow that the caller's own hook had just allowed, and that one says nothing yet.
#[test]
fn a_service_that_nobody_translates_is_judged_by_its_address() {
    let mut node = with_services();
    let owed = Stamp::owed(CALLER).0;
    for family in 0..2 {
        let (own, service) = (CALLER_ADDRESSES[family], SERVICE[family]);
        for segment in [SYN, ACK] {
            let packet = ip(own, service, TCP, &tcp(4000, 80, segment));
            assert!(!sends(&node, &packet).0.is_drop());
            for by in [CALLER_PORT, BRIDGE] {
                assert_eq!(arrives(&node, &packet, by, owed), Some(Policy));
            }
        }
    }
    let echo = ip(CALLER_ADDRESSES[0], SERVICE[0], ICMP, &icmp(8, 0, &[0; 4]));
    assert_eq!(sends(&node, &echo), (Allowed, Stamp::owed(CALLER)));
    assert_eq!(arrives(&node, &echo, CALLER_PORT, owed), Some(Policy));
    // A block around it says what it says of any address.
    node.world
        .cidrs_v4
        .insert((v4("10.96.0.0"), 16), IdentityId(30));
    let ruleset = node.world.endpoints[&CALLER].egress.ruleset;
    let identity = IdentityId(30);
    let key = RuleKey { ruleset, identity };
    node.world.rules.insert(key, PortSetId::ALLOW_ALL);
    caller(&mut node).flags |= Endpoint::EGRESS_BLOCKS;
    let packet = ip(CALLER_ADDRESSES[0], SERVICE[0], TCP, &tcp(4000, 80, SYN));
    assert_eq!(arrives(&node, &packet, CALLER_PORT, owed), None);
}

#[test]
fn backends_that_change_under_a_connection_are_judged_with_each_packet() {
    let node = with_services();
    let owed = Stamp::owed(CALLER).0;
    for family in 0..2 {
        let own = CALLER_ADDRESSES[family];
        let data = ip(own, SERVICE[family], TCP, &tcp(4000, 80, ACK));
        for _ in 0..2 {
            assert_eq!(sends(&node, &data).1, Stamp::owed(CALLER));
            let allowed = ip(own, OWN[family], TCP, &tcp(4000, 80, ACK));
            assert_eq!(arrives(&node, &allowed, CALLER_PORT, owed), None);
            let stranger = STRANGER[family];
            let denied = ip(own, stranger, TCP, &tcp(4000, 80, ACK));
            assert_eq!(arrives(&node, &denied, CALLER_PORT, owed), Some(Policy));
        }
    }
}
