//! Later fragments follow their first one or are dropped.

use policy_common::Reason::{
    Allowed, Flow as Rides, OverlappingFragment, Policy, TinyFragment, UnseenFragment,
};

use crate::{
    frames::{Header, PLAIN, SYN, TCP, UDP, fragment_header, ip_with, tcp, udp},
    node::{CLIENT, Node, OWN, STRANGER},
};

fn piece(source: &str, offset: u16, more: bool, id: u16, payload: &[u8]) -> Vec<u8> {
    let fragment = (offset, more, id);
    ip_with(Header { fragment, ..PLAIN }, source, OWN[0], UDP, payload)
}

fn first(port: u16) -> Vec<u8> {
    let mut datagram = udp(4000, port);
    datagram.extend([0; 16]);
    datagram
}

#[test]
fn later_fragments_follow_the_first_one() {
    let node = Node::new();
    assert_eq!(
        node.receives(&piece(CLIENT[0], 0, true, 7, &first(53))),
        Allowed
    );
    assert_eq!(
        node.receives(&piece(CLIENT[0], 24, true, 7, &[0; 24])),
        Rides
    );
    assert_eq!(
        node.receives(&piece(CLIENT[0], 48, false, 7, &[0; 5])),
        Rides
    );
}

#[test]
fn a_later_fragments_payload_is_never_read_as_ports() {
    let node = Node::new();
    // It looks like the header of an allowed datagram.
    assert_eq!(
        node.receives(&piece(CLIENT[0], 24, false, 7, &first(53))),
        UnseenFragment
    );
}

#[test]
fn fragments_of_a_denied_datagram_are_dropped() {
    let node = Node::new();
    assert_eq!(
        node.receives(&piece(CLIENT[0], 0, true, 7, &first(54))),
        Policy
    );
    assert_eq!(
        node.receives(&piece(CLIENT[0], 24, false, 7, &[0; 8])),
        UnseenFragment
    );
}

#[test]
fn fragments_of_another_sender_or_datagram_do_not_follow() {
    let node = Node::new();
    let _ = node.receives(&piece(CLIENT[0], 0, true, 7, &first(53)));
    assert_eq!(
        node.receives(&piece(STRANGER[0], 24, false, 7, &[0; 8])),
        UnseenFragment
    );
    assert_eq!(
        node.receives(&piece(CLIENT[0], 24, false, 8, &[0; 8])),
        UnseenFragment
    );
}

#[test]
fn what_a_pod_sends_does_not_vouch_for_what_it_receives() {
    let node = Node::new();
    let sent = ip_with(
        Header {
            fragment: (0, true, 7),
            ..PLAIN
        },
        OWN[0],
        CLIENT[0],
        UDP,
        &first(53),
    );
    assert_eq!(node.sends(&sent), Allowed);
    assert_eq!(
        node.receives(&piece(CLIENT[0], 24, false, 7, &[0; 8])),
        UnseenFragment
    );
}

#[test]
fn a_first_fragment_without_its_whole_header_is_dropped() {
    let node = Node::new();
    assert_eq!(
        node.receives(&piece(CLIENT[0], 0, true, 7, &[0; 4])),
        TinyFragment
    );
    let header = Header {
        fragment: (0, true, 7),
        ..PLAIN
    };
    let short = &tcp(4000, 80, SYN)[..16];
    assert_eq!(
        node.receives(&ip_with(header, CLIENT[0], OWN[0], TCP, short)),
        TinyFragment
    );
}

#[test]
fn a_later_fragment_that_rewrites_the_transport_header_is_dropped() {
    let node = Node::new();
    let fragment = |offset, more, payload: &[u8]| {
        let header = Header {
            fragment: (offset, more, 7),
            ..PLAIN
        };
        ip_with(header, CLIENT[0], OWN[0], TCP, payload)
    };
    let mut segment = tcp(4000, 80, SYN);
    segment.extend([0; 4]);
    assert_eq!(node.receives(&fragment(0, true, &segment)), Allowed);
    assert_eq!(
        node.receives(&fragment(8, true, &[0; 16])),
        OverlappingFragment
    );
    assert_eq!(
        node.receives(&fragment(16, true, &[0; 16])),
        OverlappingFragment
    );
    assert_eq!(node.receives(&fragment(24, false, &[0; 16])), Rides);
}

#[test]
fn ipv6_fragments_follow_the_first_one_with_headers_before_the_transport() {
    let node = Node::new();
    let piece = |offset, more, extensions: &[(u8, &[u8])], payload: &[u8]| {
        let header = fragment_header(offset, more, 3);
        let mut all: Vec<(u8, &[u8])> = vec![(44, &header)];
        all.extend(extensions);
        let header = Header {
            extensions: &all,
            ..PLAIN
        };
        ip_with(header, CLIENT[1], OWN[1], UDP, payload)
    };
    let options: (u8, &[u8]) = (60, &[0, 0, 1, 4, 0, 0, 0, 0]);
    assert_eq!(
        node.receives(&piece(24, false, &[], &[0; 8])),
        UnseenFragment
    );
    assert_eq!(
        node.receives(&piece(0, true, &[options], &first(53))),
        Allowed
    );
    // The header ends at 16: eight bytes of options, eight of UDP.
    assert_eq!(
        node.receives(&piece(8, false, &[], &[0; 8])),
        OverlappingFragment
    );
    assert_eq!(node.receives(&piece(32, false, &[], &[0; 8])), Rides);
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    let node = Node::new();
    let header = fragment_header(0, false, 3);
    let header = Header {
        extensions: &[(44, &header)],
        ..PLAIN
    };
    assert_eq!(
        node.receives(&ip_with(header, CLIENT[1], OWN[1], UDP, &udp(1, 53))),
        Allowed
    );
    assert_eq!(
        node.receives(&ip_with(header, CLIENT[1], OWN[1], UDP, &udp(1, 54))),
        Policy
    );
}
