//! What cannot be parsed is dropped on isolated endpoints.

use policy_common::{
    Endpoint,
    Reason::{
        Allowed, Ethertype, ExtensionHeaders, Malformed, NotIsolated, Policy, RoutingHeader,
        VlanTag,
    },
};

use crate::{
    frames::{Header, PLAIN, SYN, TCP, UDP, fragment_header, frame, ip, ip_with, packet, tcp, udp},
    node::{CLIENT, Node, OWN, v4},
};

const OPTIONS: (u8, &[u8]) = (60, &[0, 0, 1, 4, 0, 0, 0, 0]);

fn with_extensions(extensions: &[(u8, &[u8])], port: u16) -> Vec<u8> {
    let header = Header {
        extensions,
        ..PLAIN
    };
    ip_with(header, CLIENT[1], OWN[1], UDP, &udp(4000, port))
}

#[test]
fn ports_begin_behind_ipv4_options() {
    let node = Node::new();
    let options = [1; 40];
    for length in (0..=40).step_by(4) {
        let header = Header {
            options: &options[..length],
            ..PLAIN
        };
        let syn = |port| ip_with(header, CLIENT[0], OWN[0], TCP, &tcp(4000, port, SYN));
        assert_eq!(
            node.receives(&syn(80)),
            Allowed,
            "{length} bytes of options"
        );
        assert_eq!(node.receives(&syn(81)), Policy, "{length} bytes of options");
    }
}

#[test]
fn an_ipv4_header_shorter_than_the_shortest_is_malformed() {
    for words in 0..5 {
        let mut packet = packet(PLAIN, CLIENT[0], OWN[0], TCP, &tcp(4000, 80, SYN));
        packet[0] = 0x40 | words;
        assert_eq!(Node::new().receives(&frame(0x0800, &packet)), Malformed);
    }
}

#[test]
fn a_version_that_contradicts_the_ethertype_is_malformed() {
    let v4 = packet(PLAIN, CLIENT[0], OWN[0], TCP, &[0; 40]);
    let v6 = packet(PLAIN, CLIENT[1], OWN[1], TCP, &[0; 40]);
    let node = Node::new();
    assert_eq!(node.receives(&frame(0x86dd, &v4)), Malformed);
    assert_eq!(node.receives(&frame(0x0800, &v6)), Malformed);
    assert_eq!(node.sends(&frame(0x0800, &v6)), Malformed);
}

#[test]
fn a_packet_that_ends_before_its_length_says_is_malformed_at_every_byte() {
    let node = Node::new();
    for whole in [
        ip(CLIENT[0], OWN[0], TCP, &tcp(4000, 80, SYN)),
        ip(CLIENT[1], OWN[1], TCP, &tcp(4000, 80, SYN)),
        with_extensions(&[OPTIONS], 53),
    ] {
        for length in 0..whole.len() {
            assert_eq!(
                node.receives(&whole[..length]),
                Malformed,
                "cut at {length}"
            );
        }
        assert_eq!(node.receives(&whole), Allowed);
    }
}

#[test]
fn bytes_behind_the_ip_packet_are_padding_and_no_header() {
    let node = Node::new();
    let mut padded = ip(CLIENT[0], OWN[0], TCP, &tcp(4000, 80, SYN));
    padded.extend([0; 20]);
    assert_eq!(node.receives(&padded), Allowed);
    // The whole TCP header lies behind the end that the IP header gives.
    let mut hidden = ip(CLIENT[0], OWN[0], TCP, &[]);
    hidden.extend(tcp(4000, 80, SYN));
    assert_eq!(node.receives(&hidden), Malformed);
}

#[test]
fn a_tcp_header_length_that_is_too_short_or_too_long_is_malformed() {
    let node = Node::new();
    for words in [0, 4, 6, 15] {
        let mut segment = tcp(4000, 80, SYN);
        segment[12] = words << 4;
        assert_eq!(
            node.receives(&ip(CLIENT[0], OWN[0], TCP, &segment)),
            Malformed,
            "{words}"
        );
    }
}

#[test]
fn every_extension_header_is_walked_in_its_own_units() {
    let authentication: (u8, &[u8]) = (
        51,
        &[
            0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ],
    );
    let hop_by_hop: (u8, &[u8]) = (0, OPTIONS.1);
    let used_up: (u8, &[u8]) = (43, &[0, 0, 0, 0, 0, 0, 0, 0]);
    let atomic = fragment_header(0, false, 1);
    for extensions in [
        vec![hop_by_hop],
        vec![OPTIONS],
        vec![used_up],
        vec![authentication],
        vec![(44, &atomic[..])],
        vec![
            hop_by_hop,
            OPTIONS,
            used_up,
            (44, &atomic[..]),
            authentication,
            OPTIONS,
        ],
    ] {
        let node = Node::new();
        assert_eq!(
            node.receives(&with_extensions(&extensions, 53)),
            Allowed,
            "{extensions:?}"
        );
        assert_eq!(
            node.receives(&with_extensions(&extensions, 54)),
            Policy,
            "{extensions:?}"
        );
    }
}

#[test]
fn more_extension_headers_than_the_bound_are_dropped() {
    let node = Node::new();
    let most = policy_common::limits::MAX_EXTENSION_HEADERS;
    assert_eq!(
        node.receives(&with_extensions(&vec![OPTIONS; most], 53)),
        Allowed
    );
    assert_eq!(
        node.receives(&with_extensions(&vec![OPTIONS; most + 1], 53)),
        ExtensionHeaders
    );
}

#[test]
fn a_routing_header_with_segments_left_is_dropped() {
    let header: (u8, &[u8]) = (43, &[0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(
        Node::new().receives(&with_extensions(&[header], 53)),
        RoutingHeader
    );
}

#[test]
fn an_extension_header_that_reaches_beyond_the_packet_is_malformed() {
    let header: (u8, &[u8]) = (60, &[0, 9, 1, 4, 0, 0, 0, 0]);
    assert_eq!(
        Node::new().receives(&with_extensions(&[header], 53)),
        Malformed
    );
}

#[test]
fn a_second_fragment_header_is_malformed() {
    let atomic = fragment_header(0, false, 1);
    let twice: [(u8, &[u8]); 2] = [(44, &atomic), (44, &atomic)];
    assert_eq!(
        Node::new().receives(&with_extensions(&twice, 53)),
        Malformed
    );
}

#[test]
fn an_unknown_extension_header_is_a_protocol_without_ports() {
    // Mobility (135) is not walked: a rule with ports does not allow it.
    let mobility: (u8, &[u8]) = (135, &[0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        Node::new().receives(&with_extensions(&[mobility], 53)),
        Policy
    );
}

#[test]
fn what_is_neither_ip_nor_arp_is_dropped_where_a_policy_is() {
    let lldp = frame(0x88cc, &[0; 40]);
    assert_eq!(Node::new().sends(&lldp), Ethertype);
    assert_eq!(Node::new().receives(&lldp), Ethertype);
    assert_eq!(Node::new().with(0).sends(&lldp), NotIsolated);
    let egress = Node::new().with(Endpoint::EGRESS_ISOLATED);
    assert_eq!(
        egress.receives(&lldp),
        NotIsolated,
        "the pod may receive it"
    );
}

#[test]
fn vlan_tags_hide_addresses_and_are_dropped() {
    for tag in [0x8100, 0x88a8] {
        let tagged = frame(tag, &[0; 40]);
        assert_eq!(Node::new().sends(&tagged), VlanTag);
        assert_eq!(
            Node::new().with(0).sends(&tagged),
            VlanTag,
            "a free pod may not either"
        );
        assert_eq!(Node::new().receives(&tagged), VlanTag);
    }
}

/// A source route (RFC 791, 3.1): type, length, pointer, one address.
fn source_route(kind: u8, pointer: u8) -> Vec<u8> {
    let mut options = vec![kind, 7, pointer];
    options.extend(v4("192.0.2.2").0);
    options.push(0);
    options
}

#[test]
fn a_source_route_with_addresses_left_is_dropped() {
    let datagram = udp(1, 53);
    for node in [Node::new(), Node::new().with(0)] {
        for kind in [131, 137] {
            let sends = |options: &[u8]| {
                let header = Header { options, ..PLAIN };
                node.sends(&ip_with(header, OWN[0], CLIENT[0], 17, &datagram))
            };
            assert_eq!(sends(&source_route(kind, 4)), RoutingHeader);
            let behind = [&[1, 1, 1, 7, 4, 4, 0][..], &source_route(kind, 4), &[0]].concat();
            assert_eq!(sends(&behind), RoutingHeader);
            assert!(!sends(&source_route(kind, 8)).is_drop(), "used up");
            assert_eq!(sends(&source_route(kind, 3)), Malformed);
            assert_eq!(sends(&[kind, 2, 1, 0]), Malformed);
            assert_eq!(sends(&[1, 1, 1, kind]), Malformed, "cut off");
            assert_eq!(sends(&[7, 9, 4, 0]), Malformed, "beyond the header");
            assert_eq!(sends(&[7, 0, 4, 0]), Malformed, "no end");
            // Nothing behind the list's end is an option.
            assert!(!sends(&[&[0, 0, 0, 0][..], &source_route(kind, 4)].concat()).is_drop());
        }
    }
}
