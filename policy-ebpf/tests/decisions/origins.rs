//! The host is told from everybody else by three signals together.

use policy_common::Reason::{Allowed, Host, Policy};
use policy_ebpf::{Origin, Stamp};

use crate::{
    frames::{Header, PLAIN, SYN, TCP, fragment_header, ip, ip_with, tcp},
    node::{HOST, Node, OWN, POD, UPLINK},
};

const HERE: Origin = Origin {
    ifindex: POD,
    ingress_ifindex: 0,
    has_socket: true,
    has_foreign_socket: false,
    knows_sockets: false,
    stamp: 0,
    has_vlan_tag: false,
};

#[test]
fn the_hosts_own_packets_always_reach_the_pod() {
    let node = Node::new();
    for family in 0..2 {
        let syn = ip(HOST[family], OWN[family], TCP, &tcp(1, 9, SYN));
        assert_eq!(node.receives_by(&syn, HERE), Host);
    }
}

#[test]
fn a_class_that_a_filter_gave_is_no_stamp() {
    let node = Node::new();
    for family in 0..2 {
        let syn = ip(HOST[family], OWN[family], TCP, &tcp(1, 9, SYN));
        for class in [1, 0x10, 7, 0x7fff] {
            let origin = Origin {
                stamp: class,
                ..HERE
            };
            assert_eq!(node.receives_by(&syn, origin), Host, "class {class:#x}");
        }
    }
}

#[test]
fn no_class_takes_from_a_packet_that_a_socket_of_the_host_sent_it() {
    let node = Node::new();
    for family in 0..2 {
        let syn = ip(HOST[family], OWN[family], TCP, &tcp(1, 9, SYN));
        for class in [1, 0x8001, 0x8007, 0xc001, 0xc007, 0xffff] {
            let origin = Origin {
                knows_sockets: true,
                stamp: class,
                ..HERE
            };
            assert_eq!(node.receives_by(&syn, origin), Host, "class {class:#x}");
        }
    }
}

/// An interface by which packets are sent round.
const IFB: u32 = 77;

#[test]
fn what_the_host_sends_round_by_an_ifb_is_the_hosts() {
    let mut node = Node::new();
    node.world.ifbs.insert(IFB);
    let by_ifb = Origin {
        ingress_ifindex: IFB,
        has_socket: false,
        stamp: Stamp::HOST.0,
        ..HERE
    };
    for family in 0..2 {
        let syn = ip(HOST[family], OWN[family], TCP, &tcp(1, 9, SYN));
        assert_eq!(node.receives_by(&syn, by_ifb), Host);
        // It has its stamp before it goes round.
        let stamped = Origin {
            stamp: Stamp::HOST.0,
            ..HERE
        };
        assert_eq!(node.receives_by(&syn, stamped), Host);
    }
    let header = fragment_header(0, false, 1);
    let atomic = Header {
        extensions: &[(44, &header)],
        ..PLAIN
    };
    let syn = ip_with(atomic, HOST[1], OWN[1], TCP, &tcp(1, 9, SYN));
    assert_eq!(node.receives_by(&syn, by_ifb), Policy);
}

#[test]
fn what_others_send_round_by_an_ifb_is_theirs() {
    let mut node = Node::new();
    node.world.ifbs.insert(IFB);
    let by_ifb = Origin {
        ingress_ifindex: IFB,
        has_socket: false,
        ..HERE
    };
    for family in 0..2 {
        let syn = ip(HOST[family], OWN[family], TCP, &tcp(1, 9, SYN));
        for origin in [
            by_ifb,
            // A pod's.
            Origin {
                stamp: Stamp::judged(policy_common::EndpointId(7)).0,
                ..by_ifb
            },
            // A pod's, by a bridge.
            Origin {
                has_foreign_socket: true,
                ..by_ifb
            },
            // With the stamp by an interface that is no IFB, which may lead into a container.
            Origin {
                ingress_ifindex: IFB + 4_096,
                stamp: Stamp::HOST.0,
                ..by_ifb
            },
            Origin {
                ingress_ifindex: 0,
                stamp: Stamp::HOST.0,
                ..by_ifb
            },
        ] {
            assert_eq!(node.receives_by(&syn, origin), Policy, "{origin:?}");
        }
    }
}

#[test]
fn the_hosts_address_alone_is_not_the_host() {
    let node = Node::new();
    let syn = ip(HOST[0], OWN[0], TCP, &tcp(1, 9, SYN));
    for origin in [
        Origin {
            ingress_ifindex: UPLINK,
            ..HERE
        },
        Origin {
            has_socket: false,
            ..HERE
        },
        Origin {
            has_socket: false,
            has_foreign_socket: true,
            ..HERE
        },
        Origin {
            stamp: Stamp::judged(policy_common::EndpointId(7)).0,
            ..HERE
        },
    ] {
        assert_eq!(node.receives_by(&syn, origin), Policy, "{origin:?}");
    }
}

#[test]
fn an_ipv6_fragment_is_never_the_hosts_because_re_fragmentation_loses_the_interface() {
    let node = Node::new();
    let header = fragment_header(0, false, 1);
    let atomic = Header {
        extensions: &[(44, &header)],
        ..PLAIN
    };
    let syn = ip_with(atomic, HOST[1], OWN[1], TCP, &tcp(1, 9, SYN));
    assert_eq!(node.receives_by(&syn, HERE), Policy);
}

#[test]
fn the_pods_own_address_from_outside_is_a_forgery_and_from_its_interface_itself() {
    let node = Node::new();
    let syn = ip(OWN[0], OWN[0], TCP, &tcp(1, 9, SYN));
    assert_eq!(node.receives(&syn), Policy);
    let from_itself = Origin {
        ingress_ifindex: POD,
        has_socket: false,
        ..HERE
    };
    assert_eq!(node.receives_by(&syn, from_itself), Allowed);
}
