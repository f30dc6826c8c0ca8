//! No pod exhausts the table for the others.

use policy_common::{
    Endpoint, FlowState,
    Reason::{Allowed, Flow as Rides, FlowLimit, FlowTableFull, NotIsolated},
};

use crate::{
    frames::{UDP, ip, udp},
    node::{FRIEND, Node, OWN},
};

fn question(port: u16) -> Vec<u8> {
    ip(OWN[0], FRIEND[0], UDP, &udp(port, 53))
}

fn answer(port: u16) -> Vec<u8> {
    ip(FRIEND[0], OWN[0], UDP, &udp(53, port))
}

fn limited(pod: u32, peer: u32) -> Node {
    let mut node = Node::new();
    (
        node.world.config.pod_opened_limit,
        node.world.config.peer_opened_limit,
    ) = (pod, peer);
    node
}

fn opened_by_pod(node: &Node) -> u64 {
    let counts = node.world.counts.borrow();
    counts.values().next().map_or(0, |counts| counts.pod_opened)
}

#[test]
fn unanswered_flows_give_way_at_the_limit_and_the_count_stays() {
    let node = limited(40, 40);
    for port in 1..=200 {
        assert_eq!(node.sends(&question(port)), Allowed, "port {port}");
    }
    assert_eq!(opened_by_pod(&node), 40);
    assert_eq!(node.world.flows(), 40);
}

#[test]
fn an_answered_flow_among_the_remembered_ones_does_not_block_the_others() {
    let node = limited(40, 40);
    for port in 1..=40 {
        assert_eq!(node.sends(&question(port)), Allowed);
    }
    // The last twenty are remembered, and the oldest of them is answered now.
    assert_eq!(node.receives(&answer(21)), Rides);
    for port in 100..=140 {
        let mut tries = 1;
        while node.sends(&question(port)) != Allowed {
            tries += 1;
            assert!(
                tries <= 8,
                "port {port}: refused though many are unanswered"
            );
        }
    }
    assert_eq!(node.receives(&answer(21)), Rides);
}

#[test]
fn answered_flows_never_give_way() {
    let node = limited(4, 4);
    for port in 1..=4 {
        assert_eq!(node.sends(&question(port)), Allowed);
        assert_eq!(node.receives(&answer(port)), Rides);
    }
    assert_eq!(node.sends(&question(9)), FlowLimit);
    for port in 1..=4 {
        assert_eq!(node.receives(&answer(port)), Rides, "port {port} lives");
    }
}

#[test]
fn what_the_pod_opens_does_not_use_up_what_peers_may_open() {
    let node = limited(2, 2);
    for port in 1..=2 {
        let _ = node.sends(&question(port));
        let _ = node.receives(&answer(port));
    }
    assert_eq!(node.sends(&question(3)), FlowLimit);
    assert_eq!(
        node.receives(&ip(FRIEND[0], OWN[0], UDP, &udp(7, 7))),
        Allowed
    );
}

#[test]
fn a_full_table_refuses_new_flows_and_takes_them_again_when_there_is_room() {
    let mut node = Node::new();
    node.world.max_flows = 2;
    assert_eq!(node.sends(&question(1)), Allowed);
    assert_eq!(node.sends(&question(2)), Allowed);
    assert_eq!(node.sends(&question(3)), FlowTableFull);
    assert_eq!(node.receives(&answer(1)), Rides, "live flows stay");
    node.world.flows_v4.borrow_mut().clear();
    assert_eq!(node.sends(&question(3)), Allowed);
}

#[test]
fn where_the_answers_need_no_entry_a_full_table_costs_no_connection() {
    let mut node = Node::new().with(Endpoint::EGRESS_ISOLATED);
    node.world.max_flows = 0;
    assert_eq!(node.sends(&question(1)), Allowed);
    assert_eq!(node.receives(&answer(1)), NotIsolated);
}

#[test]
fn an_expired_entry_is_replaced_without_being_counted_twice() {
    let node = limited(8, 8);
    let _ = node.sends(&question(1));
    node.world.pass(31);
    let _ = node.sends(&question(1));
    assert_eq!(opened_by_pod(&node), 1);
    node.world.pass(31);
    // Now the peer opens it.
    assert_eq!(node.receives(&answer(1)), Allowed);
    assert_eq!(opened_by_pod(&node), 0);
    let flow = *node
        .world
        .flows_v4
        .borrow()
        .values()
        .next()
        .expect("a flow");
    assert_eq!(flow.state.opener, FlowState::OPENED_BY_PEER);
}
