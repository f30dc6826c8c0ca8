//! At a limit an endpoint's own spare flows give way, and nothing else does.

use policy_common::{
    PortSetId,
    Reason::{Allowed, Flow as Rides, FlowDenied, FlowLimit},
    shares::CHUNK_SLOTS,
};

use crate::{
    frames::{ACK, FIN, RST, SYN, TCP, UDP, ip, tcp, tcp_at, udp},
    node::{CLIENT, FRIEND, Node, OWN},
};

/// Every remembered flow is asked within so many attempts.
const TRIES: usize = 8;

fn limited(pod: u32, peer: u32) -> Node {
    let mut node = Node::new();
    node.world.config.pod_opened_limit = pod;
    node.world.config.peer_opened_limit = peer;
    node
}

/// Live flows as they are counted: opened by the pod, opened by peers.
fn counted(node: &Node) -> (u32, u32) {
    let counts = node.world.counts.borrow();
    let counts = counts.values().next().copied().unwrap_or_default();
    (counts.pod.live, counts.peer.live)
}

fn question(port: u16) -> Vec<u8> {
    ip(OWN[0], FRIEND[0], UDP, &udp(port, 53))
}

fn answer(port: u16) -> Vec<u8> {
    ip(FRIEND[0], OWN[0], UDP, &udp(53, port))
}

fn outward(port: u16, flags: u8) -> Vec<u8> {
    ip(OWN[0], FRIEND[0], TCP, &tcp(port, 80, flags))
}

fn inward(port: u16, flags: u8) -> Vec<u8> {
    ip(FRIEND[0], OWN[0], TCP, &tcp(80, port, flags))
}

/// The pod connects, and the connection is established.
fn connect(node: &Node, port: u16) {
    assert_eq!(node.sends(&outward(port, SYN)), Allowed, "port {port}");
    assert_eq!(node.receives(&inward(port, SYN | ACK)), Rides);
    assert_eq!(node.sends(&outward(port, ACK)), Rides);
}

/// Whether a flow is opened after a few attempts.
fn opens(node: &Node, frame: &[u8]) -> bool {
    (0..TRIES).any(|_| match node.sends(frame) {
        Allowed => true,
        FlowLimit => false,
        other => panic!("{other:?}"),
    })
}

#[test]
fn connections_that_ended_give_way_to_as_many_new_ones_as_the_pod_wants() {
    let node = limited(40, 1);
    for port in 1..=400 {
        connect(&node, port);
        // Both ways to end.
        if port % 2 == 0 {
            assert_eq!(node.sends(&outward(port, FIN | ACK)), Rides);
            assert_eq!(node.receives(&inward(port, FIN | ACK)), Rides);
            assert_eq!(node.sends(&outward(port, ACK)), Rides);
        } else {
            assert_eq!(node.receives(&inward(port, RST)), Rides);
        }
    }
    assert_eq!(counted(&node), (40, 0));
    assert_eq!(node.world.flows(), 40);
}

#[test]
fn a_connection_that_lives_on_after_a_reset_gives_way_no_more() {
    let node = limited(4, 1);
    for port in 1..=4 {
        connect(&node, port);
        assert_eq!(node.receives(&inward(port, RST)), Rides);
        assert_eq!(node.receives(&inward(port, ACK)), Rides, "it was none");
    }
    assert!(!opens(&node, &question(9)));
    for port in 1..=4 {
        assert_eq!(node.receives(&inward(port, ACK)), Rides, "port {port}");
    }
}

#[test]
fn a_connection_closed_by_one_side_does_not_give_way() {
    let node = limited(4, 1);
    for port in 1..=4 {
        connect(&node, port);
        assert_eq!(node.receives(&inward(port, FIN | ACK)), Rides);
    }
    assert!(!opens(&node, &question(9)));
    assert_eq!(node.sends(&outward(1, ACK)), Rides, "the pod still sends");
}

#[test]
fn every_limit_takes_as_many_flows_as_it_says_and_then_lets_the_spare_ones_go() {
    for limit in 1..=70 {
        let node = limited(limit, 1);
        for port in 1..=300 {
            assert_eq!(
                node.sends(&question(port)),
                Allowed,
                "flow {port} of {limit}"
            );
        }
        assert_eq!(counted(&node), (limit, 0));
        assert_eq!(node.world.flows(), limit as usize);
        assert_eq!(node.receives(&answer(300)), Rides, "the last one is there");
    }
}

#[test]
fn a_limit_of_none_opens_nothing() {
    let node = limited(0, 0);
    assert!(!opens(&node, &question(1)));
    assert_eq!(node.world.flows(), 0);
}

/// A node whose pod opened as many flows as it may, none of them answered yet, and was then flooded by
/// a peer.
fn flooded() -> Node {
    let node = limited(16, 16);
    for port in 1..=16 {
        assert_eq!(node.sends(&question(port)), Allowed);
    }
    for port in 1..=500 {
        let flood = ip(FRIEND[0], OWN[0], UDP, &udp(port, 7000));
        assert_eq!(node.receives(&flood), Allowed);
    }
    node
}

#[test]
fn what_peers_open_takes_nothing_away_from_what_the_pod_opened() {
    let node = flooded();
    assert_eq!(counted(&node), (16, 16));
    for port in 1..=16 {
        assert_eq!(node.receives(&answer(port)), Rides, "port {port}");
    }
}

#[test]
fn what_peers_open_does_not_make_the_pods_spare_flows_forgotten() {
    let node = flooded();
    for port in 101..=200 {
        assert_eq!(node.sends(&question(port)), Allowed, "port {port}");
    }
    assert_eq!(counted(&node), (16, 16));
}

#[test]
fn a_remembered_flow_that_the_other_side_opened_anew_is_not_the_pods_to_give() {
    let node = limited(2, 2);
    assert_eq!(node.sends(&question(1)), Allowed);
    assert_eq!(node.sends(&question(2)), Allowed);
    node.world.pass(31);
    assert_eq!(node.receives(&answer(2)), Allowed, "the peer opens it");
    assert_eq!(counted(&node), (1, 1));
    for port in 3..=9 {
        assert!(opens(&node, &question(port)));
    }
    assert_eq!(counted(&node), (2, 1));
    assert_eq!(node.sends(&question(2)), Rides, "it is still there");
}

#[test]
fn spare_flows_behind_many_connections_are_found_after_a_few_attempts() {
    let node = limited(40, 1);
    for port in 1..=12 {
        connect(&node, port);
    }
    for port in 13..=40 {
        assert_eq!(node.sends(&question(port)), Allowed);
    }
    for port in 101..=200 {
        assert!(opens(&node, &question(port)), "port {port}");
    }
    for port in 1..=12 {
        assert_eq!(node.receives(&inward(port, ACK)), Rides, "port {port}");
    }
}

#[test]
fn a_flood_takes_nothing_away_from_what_was_established() {
    let node = limited(64, 1);
    let mut connected = Vec::new();
    for port in 1..=500 {
        if port % 31 == 0 {
            connect(&node, port);
            connected.push(port);
        } else {
            assert!(opens(&node, &question(port)));
        }
    }
    for port in connected {
        assert_eq!(node.receives(&inward(port, ACK)), Rides, "port {port}");
    }
    assert_eq!(counted(&node), (64, 0));
}

#[test]
fn answered_questions_give_way_to_new_ones_the_oldest_first() {
    for limit in [1, 7, 40, 200] {
        let node = limited(limit, 1);
        for port in 1..=1_000 {
            assert_eq!(node.sends(&question(port)), Allowed, "{port} of {limit}");
            assert_eq!(node.receives(&answer(port)), Rides);
        }
        assert_eq!(counted(&node), (limit, 0));
        // The last ones, all of them, are there.
        for port in 1_001 - limit as u16..=1_000 {
            assert_eq!(node.receives(&answer(port)), Rides, "{port} of {limit}");
        }
    }
}

#[test]
fn a_question_is_remembered_until_its_answer_comes_whatever_was_asked_meanwhile() {
    let node = limited(400, 1);
    for port in 1..=2_000 {
        assert_eq!(node.sends(&question(port)), Allowed);
        if port > 390 {
            assert_eq!(node.receives(&answer(port - 390)), Rides, "{}", port - 390);
        }
    }
}

#[test]
fn what_goes_on_for_long_gives_way_after_what_is_over() {
    let node = limited(40, 1);
    for port in 1..2 {
        assert_eq!(node.sends(&question(port)), Allowed);
        assert_eq!(node.receives(&answer(port)), Rides);
    }
    for _ in 0..3 {
        node.world.pass(2);
        for port in 1..2 {
            assert_eq!(node.sends(&question(port)), Rides);
        }
    }
    for port in 101..=1_000 {
        assert_eq!(node.sends(&question(port)), Allowed, "port {port}");
        assert_eq!(node.receives(&answer(port)), Rides);
    }
    for port in 1..2 {
        assert_eq!(node.receives(&answer(port)), Rides, "port {port}");
    }
}

#[test]
fn half_open_connections_give_way_within_one_peer_first() {
    let node = limited(1, 40);
    let syn = |peer: &str, port| ip(peer, OWN[0], TCP, &tcp(port, 80, SYN));
    let syn_ack = |peer: &str, port| ip(OWN[0], peer, TCP, &tcp(80, port, SYN | ACK));
    // A client is shaking hands when somebody begins to flood.
    for port in 1..2 {
        assert_eq!(node.receives(&syn(CLIENT[0], port)), Allowed);
        assert_eq!(node.sends(&syn_ack(CLIENT[0], port)), Rides);
    }
    for port in 1..=2_000 {
        assert_eq!(node.receives(&syn(FRIEND[0], port)), Allowed, "port {port}");
        assert_eq!(node.sends(&syn_ack(FRIEND[0], port)), Rides);
    }
    for port in 1..2 {
        let acknowledgement = ip(CLIENT[0], OWN[0], TCP, &tcp(port, 80, ACK));
        assert_eq!(node.receives(&acknowledgement), Rides, "port {port}");
        let data = ip(OWN[0], CLIENT[0], TCP, &tcp(80, port, ACK));
        assert_eq!(node.sends(&data), Rides);
    }
    assert_eq!(counted(&node), (0, 40));
}

#[test]
fn a_flood_of_handshakes_from_everywhere_keeps_nobody_out() {
    let node = limited(1, 40);
    for number in 0..2_000u16 {
        let peer = format!("10.0.0.{}", 1 + number % 2);
        let syn = ip(&peer, OWN[0], TCP, &tcp(1_000 + number, 80, SYN));
        assert_eq!(node.receives(&syn), Allowed, "{number}");
        let answer = ip(OWN[0], &peer, TCP, &tcp(80, 1_000 + number, SYN | ACK));
        assert_eq!(node.sends(&answer), Rides);
    }
    assert_eq!(counted(&node), (0, 40));
}

#[test]
fn what_is_over_gives_way_though_nobody_sweeps() {
    let node = limited(40, 1);
    for port in 1..=40 {
        connect(&node, port);
    }
    assert!(!opens(&node, &question(99)), "connections stay");
    node.world.pass(24 * 3600 + 1);
    for port in 101..=300 {
        assert_eq!(node.sends(&question(port)), Allowed, "port {port}");
    }
    assert_eq!(counted(&node), (40, 0));
}

#[test]
fn a_reset_that_may_be_forged_lets_a_connection_give_way() {
    let node = limited(4, 1);
    for port in 1..=4 {
        connect(&node, port);
    }
    assert!(!opens(&node, &question(9)));
    let forged = tcp_at(80, 2, RST, 0x7777, 0, 0);
    assert_eq!(node.receives(&ip(FRIEND[0], OWN[0], TCP, &forged)), Rides);
    assert!(opens(&node, &question(9)));
    for port in [1, 3, 4] {
        assert_eq!(node.receives(&inward(port, ACK)), Rides, "port {port}");
    }
}

#[test]
fn a_ring_without_memory_still_lets_the_last_ones_go() {
    let mut node = limited(100, 1);
    node.world.config.blocks = 1;
    for port in 1..=2_000 {
        assert_eq!(node.sends(&question(port)), Allowed, "port {port}");
        assert_eq!(node.receives(&answer(port)), Rides);
    }
    assert_eq!(counted(&node), (100, 0));
}

#[test]
fn slots_that_a_processor_was_lent_and_has_not_filled_keep_nobody_out() {
    let node = limited(40, 1);
    for port in 1..=40 {
        assert_eq!(node.sends(&question(port)), Allowed);
        assert_eq!(node.receives(&answer(port)), Rides);
    }
    // All of a chunk that the ring has, but its first slot.
    let lent = |place: u32| {
        !place.is_multiple_of(CHUNK_SLOTS) && place < node.world.config.blocks * CHUNK_SLOTS
    };
    let mut ring = node.world.recent.borrow_mut();
    ring.retain(|place, _| !lent(*place));
    drop(ring);
    for port in 101..=200 {
        assert_eq!(node.sends(&question(port)), Allowed, "port {port}");
    }
    assert_eq!(counted(&node), (40, 0));
}

#[test]
fn flows_of_one_family_give_way_to_those_of_the_other() {
    let node = limited(6, 1);
    for port in 1..=6 {
        assert_eq!(node.sends(&question(port)), Allowed);
    }
    for port in 1..=6 {
        let frame = ip(OWN[1], FRIEND[1], UDP, &udp(port, 53));
        assert_eq!(node.sends(&frame), Allowed, "port {port}");
    }
    assert_eq!(counted(&node), (6, 0));
    assert_eq!(node.world.flows(), 6);
    assert_eq!(node.world.flows_v6.borrow().len(), 6);
}

#[test]
fn a_tombstone_never_gives_way() {
    let mut node = limited(1, 4);
    let asks = |port| ip(CLIENT[0], OWN[0], UDP, &udp(port, 53));
    let replies = |port| ip(OWN[0], CLIENT[0], UDP, &udp(53, port));
    for port in 1..=4 {
        assert_eq!(node.receives(&asks(port)), Allowed);
    }
    node.change(PortSetId::DENY_ALL);
    for port in 1..=4 {
        assert_eq!(node.receives(&asks(port)), FlowDenied);
    }
    let other = ip(FRIEND[0], OWN[0], UDP, &udp(7, 7));
    for _ in 0..TRIES {
        assert_eq!(node.receives(&other), FlowLimit);
    }
    for port in 1..=4 {
        assert_eq!(node.sends(&replies(port)), FlowDenied, "port {port}");
    }
}
