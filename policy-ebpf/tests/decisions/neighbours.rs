//! Pods of one link: each has its own hardware address and its own link-local one, and by the latter
//! it is the pod that it is.

use policy_common::{
    Endpoint, EndpointId, IdentityId, PortSetId,
    Reason::{Allowed, Host, LinkAddress, LinkControl, NeighbourSender, NotIsolated, Policy},
};
use policy_ebpf::{Origin, Stamp};

use crate::{
    frames::{FROM, Header, ICMPV6, PLAIN, SYN, TCP, UDP, icmp, ip, ip_with, tcp, udp},
    node::{CLIENT, HOST, Node, OWN, v4, v6},
};

const BRIDGE: u32 = 9;
/// Another pod, by the bridge.
const OTHER: EndpointId = EndpointId(6);
const OTHER_PORT: u32 = 12;
const OTHER_V6: &str = "fd00::6";
/// Its link-local address, which nobody recorded.
const OTHER_LINK: &str = "fe80::6";
const EVERYBODY: IdentityId = IdentityId(40);

/// Every IPv6 address is in a block that may do everything.
fn open_to_blocks() -> Node {
    let flags = Endpoint::INGRESS_ISOLATED
        | Endpoint::EGRESS_ISOLATED
        | Endpoint::INGRESS_BLOCKS
        | Endpoint::EGRESS_BLOCKS;
    let mut node = Node::new().with(flags);
    node.endpoint().bridge = BRIDGE;
    node.world.cidrs_v6.insert((v6("::"), 0), EVERYBODY);
    node.rule(EVERYBODY, PortSetId::ALLOW_ALL);
    // The other pod is left out of the block.
    node.put(["10.0.0.6", OTHER_V6], IdentityId(41), OTHER, 0);
    node.world.interfaces.insert(OTHER_PORT, OTHER);
    let other = Endpoint {
        ifindex: OTHER_PORT,
        id: OTHER,
        bridge: BRIDGE,
        v4: v4("10.0.0.6"),
        v6: v6(OTHER_V6),
        ..Endpoint::default()
    };
    node.world.endpoints.insert(OTHER, other);
    node
}

/// What came out of the other pod.
fn from_other(ingress_ifindex: u32) -> Origin {
    Origin {
        ingress_ifindex,
        has_socket: true,
        stamp: Stamp::judged(OTHER).0,
        ..Origin::default()
    }
}

#[test]
fn a_pod_is_itself_by_its_link_local_address_too() {
    let mut node = open_to_blocks();
    let by_link = ip(OTHER_LINK, OWN[1], TCP, &tcp(4000, 80, SYN));
    let by_bridge = from_other(BRIDGE);
    assert_eq!(node.receives_by(&by_link, from_other(OTHER_PORT)), Policy);
    assert_eq!(
        node.receives_by(&by_link, by_bridge),
        Policy,
        "by the stamp"
    );
    let unstamped = Origin {
        stamp: 0x10,
        ..from_other(OTHER_PORT)
    };
    assert_eq!(node.receives_by(&by_link, unstamped), Policy);
    // A rule for the pod counts for it.
    node.rule(IdentityId(41), PortSetId::ALLOW_ALL);
    node.endpoint().epoch += 1;
    assert_eq!(node.receives_by(&by_link, from_other(OTHER_PORT)), Allowed);
    // Who is no pod has an address like another: a router of the link.
    let router = ip("fe80::99", OWN[1], TCP, &tcp(4001, 80, SYN));
    assert_eq!(node.receives(&router), Allowed);
}

#[test]
fn a_pod_without_addresses_of_its_own_is_nobody_by_its_link_local_one() {
    let mut node = open_to_blocks();
    let other = node.world.endpoints.get_mut(&OTHER).expect("the other");
    (other.v4, other.v6) = Default::default();
    other.flags = Endpoint::UNKNOWN;
    let by_link = ip(OTHER_LINK, OWN[1], TCP, &tcp(4000, 80, SYN));
    assert_eq!(node.receives_by(&by_link, from_other(OTHER_PORT)), Policy);
}

#[test]
fn a_pod_with_ipv4_only_is_itself_by_its_link_local_address() {
    let mut node = open_to_blocks();
    node.world.endpoints.get_mut(&OTHER).expect("the other").v6 = v6("::");
    node.rule(IdentityId(41), PortSetId::ALLOW_ALL);
    let by_link = ip(OTHER_LINK, OWN[1], TCP, &tcp(4000, 80, SYN));
    assert_eq!(node.receives_by(&by_link, from_other(OTHER_PORT)), Allowed);
}

#[test]
fn an_answer_learned_of_one_neighbour_is_not_given_for_another() {
    let mut node = open_to_blocks();
    node.rule(IdentityId(41), PortSetId::ALLOW_ALL);
    let by_link = ip(OTHER_LINK, OWN[1], TCP, &tcp(4000, 80, SYN));
    assert_eq!(node.receives_by(&by_link, from_other(OTHER_PORT)), Allowed);
    let third = EndpointId(7);
    node.world.interfaces.insert(13, third);
    let endpoint = Endpoint {
        ifindex: 13,
        id: third,
        bridge: BRIDGE,
        ..Endpoint::default()
    };
    node.world.endpoints.insert(third, endpoint);
    let same = ip(OTHER_LINK, OWN[1], TCP, &tcp(4002, 80, SYN));
    let origin = Origin {
        ingress_ifindex: 13,
        stamp: Stamp::judged(third).0,
        ..Origin::default()
    };
    assert_eq!(node.receives_by(&same, origin), Policy);
}

#[test]
fn no_block_lets_a_pod_send_to_a_link_local_address_but_the_hosts() {
    let mut node = open_to_blocks();
    node.put(
        ["192.0.2.9", "fe80::1"],
        IdentityId::WORLD,
        EndpointId::NONE,
        1,
    );
    let to = |to: &str| ip(OWN[1], to, UDP, &udp(1, 53));
    assert_eq!(node.sends(&to(OTHER_LINK)), Policy);
    assert_eq!(node.sends(&to("fe80::1")), Allowed);
    assert_eq!(node.sends(&to("2001:db8:1::1")), Allowed);
    let free = Node::new().with(0);
    assert_eq!(free.sends(&to(OTHER_LINK)), NotIsolated);
}

#[test]
fn a_containers_socket_is_nobodys_endpoint_whatever_stamp_it_wrote() {
    let mut node = open_to_blocks();
    node.rule(IdentityId(41), PortSetId::ALLOW_ALL);
    node.world.cidrs_v6.clear();
    let by_link = ip(OTHER_LINK, OWN[1], TCP, &tcp(4000, 80, SYN));
    let child = Origin {
        ingress_ifindex: 0,
        has_socket: false,
        has_foreign_socket: true,
        stamp: Stamp::judged(OTHER).0,
        ..Origin::default()
    };
    assert_eq!(node.receives_by(&by_link, child), Policy);
    let host = Origin {
        has_socket: true,
        has_foreign_socket: false,
        stamp: 0,
        ..child
    };
    assert_eq!(node.receives_by(&by_link, host), Host);
}

/// The pod's interface was seen with the address that its frames have.
fn known_link(node: Node, mac: [u8; 6]) -> Node {
    let mut node = node;
    let endpoint = node.endpoint();
    endpoint.mac = mac;
    endpoint.flags |= Endpoint::MAC | Endpoint::EUI_64;
    node
}

#[test]
fn frames_carry_the_hardware_address_of_their_pod() {
    let other = [2, 0, 0, 0, 0, 2];
    for flags in [0, Endpoint::INGRESS_ISOLATED, Endpoint::UNKNOWN] {
        let right = known_link(Node::new().with(flags), FROM);
        let wrong = known_link(Node::new().with(flags), other);
        for family in 0..2 {
            let datagram = ip(OWN[family], HOST[family], UDP, &udp(1, 9));
            assert_ne!(right.sends(&datagram), LinkAddress);
            assert_eq!(wrong.sends(&datagram), LinkAddress);
        }
        let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
        arp.extend(FROM);
        arp.extend(v4(OWN[0]).0);
        arp.extend([0; 10]);
        let arp = crate::frames::frame(0x0806, &arp);
        assert_eq!(right.sends(&arp), LinkControl);
        assert_eq!(wrong.sends(&arp), LinkAddress);
    }
    let unchecked = Node::new();
    assert_eq!(
        unchecked.sends(&ip(OWN[0], CLIENT[0], TCP, &tcp(1, 80, SYN))),
        Allowed
    );
}

#[test]
fn a_pod_claims_no_link_local_address_but_its_own() {
    let node = known_link(Node::new(), FROM);
    let own = "fe80::ff:fe00:1";
    let claim = |source: &str, target: &str| {
        let mut rest = vec![0x20, 0, 0, 0];
        rest.extend(v6(target).0);
        rest.extend([2, 1]);
        rest.extend(FROM);
        let header = Header { hops: 255, ..PLAIN };
        node.sends(&ip_with(
            header,
            source,
            "ff02::1",
            ICMPV6,
            &icmp(136, 0, &rest),
        ))
    };
    assert_eq!(claim(own, own), LinkControl);
    assert_eq!(claim(OWN[1], own), LinkControl);
    assert_eq!(claim(own, OWN[1]), LinkControl);
    assert_eq!(claim(own, "fe80::99"), NeighbourSender);
    assert_eq!(claim(OWN[1], "fe80::99"), NeighbourSender);
    assert!(claim("fe80::99", "fe80::99").is_drop());
}
