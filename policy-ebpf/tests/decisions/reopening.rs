//! What may begin a connection meets one that is there already.

use policy_common::{
    Endpoint, FlowState, PortSetId,
    Reason::{Allowed, Flow as Rides, FlowDenied, NotIsolated, Policy},
    Verdict,
};

use crate::{
    frames::{ACK, FIN, RST, SCTP, SYN, TCP, ip, sctp, tcp},
    node::{CLIENT, FRIEND, Node, OWN},
};

fn inward(flags: u8) -> Vec<u8> {
    ip(CLIENT[0], OWN[0], TCP, &tcp(4000, 80, flags))
}

fn outward(flags: u8) -> Vec<u8> {
    ip(OWN[0], CLIENT[0], TCP, &tcp(80, 4000, flags))
}

/// The client has connected.
fn connected(flags: u16) -> Node {
    let node = Node::new().with(flags);
    assert_eq!(node.receives(&inward(SYN)), Allowed);
    assert_eq!(node.sends(&outward(SYN | ACK)), Rides);
    assert_eq!(node.receives(&inward(ACK)), Rides);
    node
}

const BOTH: u16 = Endpoint::INGRESS_ISOLATED | Endpoint::EGRESS_ISOLATED;

/// The only flow there is.
fn state(node: &Node) -> FlowState {
    let flows = node.world.flows_v4.borrow();
    assert_eq!(flows.len(), 1);
    flows.values().next().expect("a flow").state
}

fn counted(node: &Node) -> (u32, u32) {
    let counts = node.world.counts.borrow();
    let counts = counts.values().next().copied().unwrap_or_default();
    (counts.pod.live, counts.peer.live)
}

#[test]
fn a_syn_again_keeps_what_the_connection_has_come_to() {
    let node = connected(BOTH);
    assert_eq!(node.sends(&outward(FIN | ACK)), Rides);
    let before = state(&node);
    assert_eq!(
        before.seen & (FlowState::SEEN_POD_FIN | FlowState::SEEN_PEER_FIN),
        FlowState::SEEN_POD_FIN
    );
    assert_eq!(node.receives(&inward(SYN)), Allowed);
    assert_eq!(state(&node), before);
    assert_eq!(counted(&node), (0, 1));
}

#[test]
fn a_syn_again_after_a_change_that_allows_it_makes_the_flow_current() {
    let mut node = connected(BOTH);
    node.change(PortSetId::ALLOW_ALL);
    assert_eq!(node.receives(&inward(SYN)), Allowed);
    let after = state(&node);
    assert_eq!(after.epoch, node.endpoint().epoch);
    assert_eq!(after.phase, FlowState::PHASE_ESTABLISHED);
    assert_eq!(counted(&node), (0, 1));
}

#[test]
fn a_syn_that_is_forbidden_now_leaves_the_flow_to_become_a_tombstone() {
    let mut node = connected(BOTH);
    node.change(PortSetId::DENY_ALL);
    assert_eq!(node.receives(&inward(SYN)), Policy);
    assert_eq!(node.sends(&outward(ACK)), FlowDenied);
    assert_eq!(node.receives(&inward(SYN)), Policy);
    assert_eq!(node.receives(&inward(ACK)), FlowDenied);
    assert_eq!(state(&node).verdict, Verdict::DENY);
}

#[test]
fn a_syn_that_is_allowed_again_takes_the_place_of_its_tombstone() {
    let mut node = connected(BOTH);
    node.change(PortSetId::DENY_ALL);
    assert_eq!(node.receives(&inward(ACK)), FlowDenied);
    node.change(PortSetId::ALLOW_ALL);
    assert_eq!(node.receives(&inward(SYN)), Allowed);
    assert_eq!(state(&node).phase, FlowState::PHASE_NEW);
    assert_eq!(counted(&node), (0, 1));
    assert_eq!(node.sends(&outward(SYN | ACK)), Rides);
}

#[test]
fn a_connection_of_the_other_side_takes_the_place_of_a_tombstone() {
    let mut node = connected(Endpoint::INGRESS_ISOLATED);
    node.change(PortSetId::DENY_ALL);
    assert_eq!(node.receives(&inward(ACK)), FlowDenied);
    for flags in [ACK, SYN | ACK, RST, FIN | ACK] {
        assert_eq!(node.sends(&outward(flags)), FlowDenied, "flags {flags:#x}");
    }
    // Egress is open: the pod may connect from the port on which it listened.
    assert_eq!(node.sends(&outward(SYN)), NotIsolated);
    assert_eq!(state(&node).opener, FlowState::OPENED_BY_POD);
    assert_eq!(counted(&node), (1, 0));
    assert_eq!(node.receives(&inward(SYN | ACK)), Rides);
}

#[test]
fn the_other_sides_syn_on_a_live_connection_is_judged_and_changes_nothing() {
    for peer in [CLIENT, FRIEND] {
        let node = Node::new();
        let inward = |flags| ip(peer[0], OWN[0], TCP, &tcp(4000, 80, flags));
        let outward = |flags| ip(OWN[0], peer[0], TCP, &tcp(80, 4000, flags));
        assert_eq!(node.receives(&inward(SYN)), Allowed);
        assert_eq!(node.sends(&outward(SYN | ACK)), Rides);
        let before = state(&node);
        // The client's port 4000 is closed to the pod, the friend's is open.
        let expected = if peer == FRIEND { Allowed } else { Policy };
        assert_eq!(node.sends(&outward(SYN)), expected);
        assert_eq!(state(&node), before);
        assert_eq!(counted(&node), (0, 1));
        assert_eq!(node.receives(&inward(ACK)), Rides);
    }
}

#[test]
fn an_init_of_the_other_side_does_not_ride_on_an_association() {
    let mut node = Node::new();
    let inward = |chunk| ip(CLIENT[0], OWN[0], SCTP, &sctp(4000, 80, chunk));
    let outward = |chunk| ip(OWN[0], CLIENT[0], SCTP, &sctp(80, 4000, chunk));
    let (data, init, init_ack) = (0, 1, 2);
    node.change(PortSetId::ALLOW_ALL);
    assert_eq!(node.receives(&inward(init)), Allowed);
    assert_eq!(node.sends(&outward(init_ack)), Rides);
    node.endpoint().egress.ruleset = policy_common::RulesetId(99);
    assert_eq!(node.sends(&outward(init)), Policy);
    assert_eq!(node.sends(&outward(data)), Rides);
}
