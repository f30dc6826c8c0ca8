//! Source and destination checks, tunnels, loopback: on every endpoint.

use policy_common::{
    AddressEntry, EndpointId, IdentityId,
    Reason::{
        Allowed, DestinationAddress, Encapsulation, LinkControl, Loopback, NotIsolated, Policy,
        SourceAddress,
    },
};

use crate::{
    frames::{ICMPV6, SYN, TCP, UDP, icmp, ip, tcp, udp},
    node::{FRIEND, HOST, Node, OWN, STRANGER},
};

/// With and without policy.
fn nodes() -> [Node; 2] {
    [Node::new(), Node::new().with(0)]
}

#[test]
fn a_pod_sends_only_from_its_own_addresses() {
    for node in nodes() {
        for family in 0..2 {
            for forged in [FRIEND[family], HOST[family], STRANGER[family]] {
                let syn = ip(forged, OWN[family], TCP, &tcp(1, 80, SYN));
                assert_eq!(node.sends(&syn), SourceAddress, "{forged}");
            }
        }
    }
}

#[test]
fn an_address_with_an_entry_of_its_own_is_the_endpoints_too() {
    let mut node = Node::new();
    let second = ["10.0.0.10", "fd00::10"];
    node.put(second, IdentityId(20), EndpointId(5), 0);
    for family in 0..2 {
        let syn = ip(second[family], FRIEND[family], TCP, &tcp(1, 80, SYN));
        assert_eq!(node.sends(&syn), Allowed);
        let syn = ip(FRIEND[family], second[family], TCP, &tcp(1, 80, SYN));
        assert_eq!(node.receives(&syn), Allowed);
    }
}

#[test]
fn a_packet_for_somebody_else_does_not_reach_the_pod() {
    for node in nodes() {
        for family in 0..2 {
            let stray = ip(FRIEND[family], STRANGER[family], UDP, &udp(1, 2));
            assert_eq!(node.receives(&stray), DestinationAddress);
        }
    }
}

#[test]
fn without_an_address_a_pod_asks_for_one_and_does_nothing_else() {
    for node in nodes() {
        let from_nobody = |to, source, destination| {
            node.sends(&ip("0.0.0.0", to, UDP, &udp(source, destination)))
        };
        assert_ne!(from_nobody("255.255.255.255", 68, 67), SourceAddress);
        assert_eq!(from_nobody("255.255.255.255", 68, 68), SourceAddress);
        assert_eq!(from_nobody(FRIEND[0], 68, 67), SourceAddress);
        assert_eq!(from_nobody("255.255.255.255", 67, 67), SourceAddress);
        let syn = ip("0.0.0.0", FRIEND[0], TCP, &tcp(68, 67, SYN));
        assert_eq!(node.sends(&syn), SourceAddress);
        let echo = ip("::", FRIEND[1], ICMPV6, &icmp(128, 0, &[0; 4]));
        assert_eq!(node.sends(&echo), SourceAddress);
    }
}

#[test]
fn link_local_addresses_stay_on_their_link() {
    for node in nodes() {
        let on_link = ip("fe80::9", "ff02::2", UDP, &udp(1, 2));
        assert_ne!(node.sends(&on_link), SourceAddress);
        let routed = ip("fe80::9", FRIEND[1], UDP, &udp(1, 2));
        assert_eq!(node.sends(&routed), SourceAddress);
    }
}

#[test]
fn loopback_destinations_are_dropped_with_and_without_policy() {
    for node in nodes() {
        assert_eq!(
            node.sends(&ip(OWN[0], "127.0.0.1", TCP, &tcp(1, 2, SYN))),
            Loopback
        );
        assert_eq!(
            node.sends(&ip(OWN[0], "127.9.9.9", TCP, &tcp(1, 2, SYN))),
            Loopback
        );
        assert_eq!(
            node.sends(&ip(OWN[1], "::1", TCP, &tcp(1, 2, SYN))),
            Loopback
        );
    }
}

#[test]
fn a_tunnel_packet_to_a_node_is_dropped_and_to_others_policed() {
    for mut node in nodes() {
        node.world.tunnel_ports.insert(4789);
        for family in 0..2 {
            for protocol in [4, 41, 47] {
                let packet = ip(OWN[family], HOST[family], protocol, &[0; 24]);
                assert_eq!(node.sends(&packet), Encapsulation, "protocol {protocol}");
            }
            let vxlan = |to| ip(OWN[family], to, UDP, &udp(1, 4789));
            assert_eq!(node.sends(&vxlan(HOST[family])), Encapsulation);
            let elsewhere = node.sends(&vxlan(STRANGER[family]));
            assert!([Policy, NotIsolated].contains(&elsewhere));
        }
        assert_eq!(
            node.sends(&ip(OWN[0], "224.0.0.9", 47, &[0; 24])),
            Encapsulation
        );
    }
}

#[test]
fn a_tunnel_packet_to_whatever_may_be_unpacked_is_dropped() {
    for mut node in nodes() {
        node.world.tunnel_ports.insert(4789);
        // Broadcast addresses of subnets, subnet-router anycast, local routes: no interface has them.
        let (v4, v6) = (crate::node::v4("198.51.100.0"), crate::node::v6("fd77::"));
        node.world.locals_v4.insert((v4, 24), 1);
        node.world.locals_v6.insert((v6, 128), 1);
        let other = ["192.0.2.88", "2001:db8::88"];
        let flags = AddressEntry::NODE;
        node.put(other, IdentityId(20), EndpointId::NONE, flags);
        for (family, to) in [
            (0, "198.51.100.255"),
            (0, "0.0.0.0"),
            (0, "255.255.255.255"),
            (0, other[0]),
            (1, "fd77::"),
            (1, "::"),
            (1, other[1]),
        ] {
            for protocol in [4, 41, 47, 115, 137] {
                let packet = ip(OWN[family], to, protocol, &[0; 24]);
                assert_eq!(node.sends(&packet), Encapsulation, "{protocol} to {to}");
            }
            let vxlan = ip(OWN[family], to, UDP, &udp(1, 4789));
            assert_eq!(node.sends(&vxlan), Encapsulation, "to {to}");
            let datagram = node.sends(&ip(OWN[family], to, UDP, &udp(1, 4790)));
            assert!([Policy, NotIsolated].contains(&datagram), "to {to}");
        }
        let beside = node.sends(&ip(OWN[1], "fd77::1", 47, &[0; 24]));
        assert!([Policy, NotIsolated].contains(&beside));
    }
}

#[test]
fn a_report_about_the_groups_of_a_new_address_may_come_from_nobody() {
    let report = crate::frames::listener_report("::", "ff02::16", 1, &["ff02::1:ff00:9"]);
    assert_eq!(Node::new().sends(&report), LinkControl);
}
