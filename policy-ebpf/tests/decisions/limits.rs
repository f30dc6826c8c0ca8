//! No pod exhausts the table for the others.

use policy_common::{
    Endpoint, FlowState,
    Reason::{self, Allowed, Flow as Rides, FlowLimit, FlowTableFull, NotIsolated},
};

use crate::{
    frames::{ACK, SYN, TCP, UDP, ip, tcp, udp},
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

fn opened_by_pod(node: &Node) -> u32 {
    let counts = node.world.counts.borrow();
    counts.values().next().map_or(0, |counts| counts.pod.live)
}

/// The pod connects: what its last segment, or the first one that does not pass, meets.
fn connects(node: &Node, port: u16) -> Reason {
    let segment = |flags| ip(OWN[0], FRIEND[0], TCP, &tcp(port, 80, flags));
    let first = node.sends(&segment(SYN));
    if first != Allowed {
        return first;
    }
    let answer = ip(FRIEND[0], OWN[0], TCP, &tcp(80, port, SYN | ACK));
    assert_eq!(node.receives(&answer), Rides);
    node.sends(&segment(ACK))
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
fn what_the_pod_opens_does_not_use_up_what_peers_may_open() {
    let node = limited(2, 2);
    for port in 1..=2 {
        assert_eq!(connects(&node, port), Rides);
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
    assert_eq!(connects(&node, 1), Rides);
    assert_eq!(connects(&node, 2), Rides);
    assert_eq!(connects(&node, 3), FlowTableFull);
    assert_eq!(node.sends(&question(4)), FlowTableFull);
    let data = ip(FRIEND[0], OWN[0], TCP, &tcp(80, 1, ACK));
    assert_eq!(node.receives(&data), Rides, "live flows stay");
    node.world.flows_v4.borrow_mut().clear();
    assert_eq!(connects(&node, 3), Rides);
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
