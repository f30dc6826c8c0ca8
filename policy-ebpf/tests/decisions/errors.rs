//! ICMP errors pass when they are about an allowed flow.

use policy_common::{
    PortSetId,
    Reason::{Allowed, ForgedError, Policy, RelatedError},
};

use crate::{
    frames::{Header, ICMP, ICMPV6, PLAIN, SYN, TCP, UDP, icmp, ip, ip_with, packet, tcp, udp},
    node::{CLIENT, Node, OWN, STRANGER},
};

const UNREACHABLE: u8 = 3;
const TOO_BIG: u8 = 2;

/// An error to the pod about a packet that it sent to the client.
fn about(quoted: &[u8]) -> Vec<u8> {
    let mut rest = vec![0; 4];
    rest.extend(quoted);
    ip(STRANGER[0], OWN[0], ICMP, &icmp(UNREACHABLE, 4, &rest))
}

#[test]
fn an_error_from_a_third_address_about_an_allowed_flow_passes() {
    let node = Node::new();
    let quoted = packet(PLAIN, OWN[0], CLIENT[0], TCP, &tcp(4000, 80, SYN));
    assert_eq!(
        node.receives(&about(&quoted)),
        Policy,
        "there is no flow yet"
    );
    assert_eq!(
        node.sends(&ip(OWN[0], CLIENT[0], TCP, &tcp(4000, 80, SYN))),
        Allowed
    );
    assert_eq!(node.receives(&about(&quoted)), RelatedError);
    assert_eq!(
        node.receives(&about(&quoted[..28])),
        RelatedError,
        "eight bytes are enough"
    );
    assert_eq!(
        node.receives(&about(&quoted[..23])),
        Policy,
        "the ports are cut off"
    );
}

#[test]
fn packet_too_big_passes_with_extension_headers_in_the_quoted_packet() {
    let node = Node::new();
    let options: (u8, &[u8]) = (60, &[0, 0, 1, 4, 0, 0, 0, 0]);
    let header = Header {
        extensions: &[options],
        ..PLAIN
    };
    let quoted = packet(header, OWN[1], CLIENT[1], UDP, &udp(4000, 53));
    let mut rest = vec![0, 0, 5, 0];
    rest.extend(quoted);
    let error = ip(STRANGER[1], OWN[1], ICMPV6, &icmp(TOO_BIG, 0, &rest));
    assert_eq!(node.receives(&error), Policy);
    assert_eq!(
        node.sends(&ip_with(header, OWN[1], CLIENT[1], UDP, &udp(4000, 53))),
        Allowed
    );
    assert_eq!(node.receives(&error), RelatedError);
}

#[test]
fn ipv4_options_in_the_quoted_packet_are_skipped() {
    let node = Node::new();
    let header = Header {
        options: &[1; 8],
        ..PLAIN
    };
    let _ = node.sends(&ip(OWN[0], CLIENT[0], UDP, &udp(4000, 53)));
    let quoted = packet(header, OWN[0], CLIENT[0], UDP, &udp(4000, 53));
    assert_eq!(node.receives(&about(&quoted)), RelatedError);
}

#[test]
fn an_error_about_a_flow_that_a_change_forbade_is_policed() {
    let mut node = Node::new();
    let _ = node.sends(&ip(OWN[0], CLIENT[0], UDP, &udp(4000, 53)));
    let quoted = packet(PLAIN, OWN[0], CLIENT[0], UDP, &udp(4000, 53));
    assert_eq!(node.receives(&about(&quoted)), RelatedError);
    node.change(PortSetId::DENY_ALL);
    assert_eq!(
        node.receives(&about(&quoted)),
        Policy,
        "before any packet of the flow too"
    );
}

#[test]
fn an_error_does_not_keep_a_flow_alive() {
    let node = Node::new();
    let _ = node.sends(&ip(OWN[0], CLIENT[0], UDP, &udp(4000, 53)));
    let quoted = packet(PLAIN, OWN[0], CLIENT[0], UDP, &udp(4000, 53));
    for _ in 0..3 {
        node.world.pass(10);
        assert_eq!(node.receives(&about(&quoted)), RelatedError);
    }
    node.world.pass(1);
    assert_eq!(node.receives(&about(&quoted)), Policy);
}

#[test]
fn a_pod_complains_only_about_what_it_received() {
    let node = Node::new();
    assert_eq!(
        node.receives(&ip(CLIENT[0], OWN[0], UDP, &udp(4000, 53))),
        Allowed
    );
    let complaint = |quoted: Vec<u8>| {
        let mut rest = vec![0; 4];
        rest.extend(quoted);
        ip(OWN[0], CLIENT[0], ICMP, &icmp(UNREACHABLE, 3, &rest))
    };
    let received = packet(PLAIN, CLIENT[0], OWN[0], UDP, &udp(4000, 53));
    assert_eq!(node.sends(&complaint(received)), RelatedError);
    let others = packet(PLAIN, CLIENT[0], STRANGER[0], UDP, &udp(4000, 53));
    assert_eq!(node.sends(&complaint(others.clone())), ForgedError);
    let free = Node::new().with(0);
    assert_eq!(
        free.sends(&complaint(others)),
        ForgedError,
        "without policy too"
    );
    assert_eq!(
        node.sends(&complaint(Vec::new())),
        ForgedError,
        "about nothing"
    );
}

#[test]
fn a_later_fragment_is_quoted_in_vain() {
    let node = Node::new();
    let _ = node.sends(&ip(OWN[0], CLIENT[0], UDP, &udp(4000, 53)));
    let header = Header {
        fragment: (24, false, 7),
        ..PLAIN
    };
    let quoted = packet(header, OWN[0], CLIENT[0], UDP, &udp(4000, 53));
    assert_eq!(node.receives(&about(&quoted)), Policy);
}

#[test]
fn padding_is_no_quote() {
    let node = Node::new();
    let quoted = packet(PLAIN, CLIENT[0], OWN[0], TCP, &tcp(4000, 80, SYN));
    // The error ends before the packet that it seems to quote.
    for shown in [0, 8, 19] {
        let mut rest = vec![0; 4];
        rest.extend(&quoted[..shown]);
        let mut frame = ip(OWN[0], CLIENT[0], ICMP, &icmp(UNREACHABLE, 4, &rest));
        frame.extend(&quoted[shown..]);
        assert_eq!(node.sends(&frame), ForgedError, "{shown} bytes");
    }
    let quoted = packet(PLAIN, CLIENT[1], OWN[1], TCP, &tcp(4000, 80, SYN));
    for shown in [0, 8, 39] {
        let mut rest = vec![0; 4];
        rest.extend(&quoted[..shown]);
        let mut frame = ip(OWN[1], CLIENT[1], ICMPV6, &icmp(TOO_BIG, 0, &rest));
        frame.extend(&quoted[shown..]);
        assert_eq!(node.sends(&frame), ForgedError, "{shown} bytes");
    }
}
