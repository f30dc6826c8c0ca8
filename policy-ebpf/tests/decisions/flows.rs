//! The life of a connection, tombstones, epochs.

use policy_common::{
    Direction, Endpoint, Flow, FlowState, PortSetId,
    Reason::{Allowed, Flow as Rides, FlowDenied, NotIsolated, Policy},
};
use policy_ebpf::{
    flows::{
        life::{is_expired, lifetime},
        phase::advance,
    },
    packet::Numbers,
};

use crate::{
    frames::{ACK, FIN, ICMP, RST, SCTP, SYN, TCP, UDP, echo, ip, sctp, tcp, tcp_at, udp},
    node::{CLIENT, FRIEND, Node, OWN, STRANGER},
};

fn in_syn() -> Vec<u8> {
    ip(CLIENT[0], OWN[0], TCP, &tcp(4000, 80, SYN))
}

fn inward(flags: u8) -> Vec<u8> {
    ip(CLIENT[0], OWN[0], TCP, &tcp(4000, 80, flags))
}

fn outward(flags: u8) -> Vec<u8> {
    ip(OWN[0], CLIENT[0], TCP, &tcp(80, 4000, flags))
}

#[test]
fn replies_ride_on_the_connection_that_ingress_rules_allowed() {
    let node = Node::new();
    assert_eq!(
        node.sends(&outward(SYN | ACK)),
        Policy,
        "nothing was asked yet"
    );
    assert_eq!(node.receives(&in_syn()), Allowed);
    assert_eq!(node.sends(&outward(SYN | ACK)), Rides);
    assert_eq!(node.receives(&inward(ACK)), Rides);
    assert_eq!(node.world.flows(), 1, "one entry serves both directions");
}

#[test]
fn only_a_syn_without_ack_opens_a_tcp_flow() {
    for flags in [ACK, SYN | ACK, FIN | ACK, RST, SYN | FIN, SYN | RST, 0] {
        let node = Node::new();
        assert_eq!(
            node.receives(&inward(flags)),
            Allowed,
            "the rules allow the segment itself"
        );
        assert_eq!(node.world.flows(), 0, "flags {flags:#x} open nothing");
        assert_eq!(node.sends(&outward(ACK)), Policy);
    }
}

#[test]
fn only_an_init_opens_an_sctp_flow_and_only_a_request_an_echo() {
    let node = Node::new();
    let chunk = |chunk| ip(FRIEND[0], OWN[0], SCTP, &sctp(1, 2, chunk));
    let _ = node.receives(&chunk(0));
    assert_eq!(node.world.flows(), 0);
    let _ = node.receives(&chunk(1));
    assert_eq!(node.world.flows(), 1);
    let _ = node.receives(&ip(FRIEND[0], OWN[0], ICMP, &echo(0, 5)));
    assert_eq!(node.world.flows(), 1);
    let _ = node.receives(&ip(FRIEND[0], OWN[0], ICMP, &echo(8, 5)));
    assert_eq!(node.world.flows(), 2);
}

#[test]
fn the_echo_identifier_is_the_flows_port() {
    let mut node = Node::new();
    assert_eq!(
        node.receives(&ip(FRIEND[0], OWN[0], ICMP, &echo(8, 5))),
        Allowed
    );
    node.rule(policy_common::IdentityId(22), PortSetId::DENY_ALL);
    assert_eq!(node.sends(&ip(OWN[0], FRIEND[0], ICMP, &echo(0, 5))), Rides);
    assert_eq!(
        node.sends(&ip(OWN[0], FRIEND[0], ICMP, &echo(0, 6))),
        Policy
    );
}

#[test]
fn a_change_that_forbids_a_flow_leaves_a_tombstone_for_both_directions() {
    let mut node = Node::new();
    let _ = node.receives(&in_syn());
    let _ = node.sends(&outward(SYN | ACK));
    node.change(PortSetId::DENY_ALL);
    assert_eq!(node.receives(&inward(ACK)), FlowDenied);
    assert_eq!(node.sends(&outward(ACK)), FlowDenied);
    node.change(PortSetId::ALLOW_ALL);
    assert_eq!(
        node.sends(&outward(ACK)),
        Rides,
        "the next change lets it go on"
    );
}

#[test]
fn a_stale_flow_is_judged_in_the_direction_in_which_it_was_opened() {
    let mut node = Node::new();
    let _ = node.receives(&in_syn());
    // Egress to the client is closed on port 4000, but the client opened the connection.
    node.endpoint().epoch += 1;
    assert_eq!(node.sends(&outward(SYN | ACK)), Rides);
}

#[test]
fn the_other_side_cannot_reopen_a_tombstone_in_reverse() {
    let mut node = Node::new().with(Endpoint::INGRESS_ISOLATED);
    let question = ip(CLIENT[0], OWN[0], UDP, &udp(4000, 53));
    let answer = ip(OWN[0], CLIENT[0], UDP, &udp(53, 4000));
    assert_eq!(node.receives(&question), Allowed);
    node.change(PortSetId::DENY_ALL);
    assert_eq!(node.receives(&question), FlowDenied);
    // Egress is open, and a UDP packet may open a flow; not this one.
    assert_eq!(node.sends(&answer), FlowDenied);
    assert_eq!(node.receives(&question), FlowDenied);
}

#[test]
fn a_tombstone_does_not_live_longer_because_of_what_it_stops() {
    let mut node = Node::new().with(Endpoint::INGRESS_ISOLATED);
    let question = ip(CLIENT[0], OWN[0], UDP, &udp(4000, 53));
    let _ = node.receives(&question);
    node.change(PortSetId::DENY_ALL);
    for _ in 0..4 {
        node.world.pass(9);
        let _ = node.receives(&question);
    }
    assert_eq!(
        node.receives(&question),
        Policy,
        "its life is over: the rules say no now"
    );
}

#[test]
fn the_pod_that_answers_does_not_become_the_opener_by_a_syn() {
    let mut node = Node::new().with(Endpoint::INGRESS_ISOLATED);
    assert_eq!(node.receives(&in_syn()), Allowed);
    assert_eq!(node.sends(&outward(SYN)), NotIsolated);
    node.change(PortSetId::DENY_ALL);
    assert_eq!(
        node.receives(&inward(ACK)),
        FlowDenied,
        "ingress rules still count"
    );
}

#[test]
fn a_closing_connection_gives_its_tuple_to_a_new_one() {
    let node = Node::new();
    let inward_at = |flags, sequence, acknowledged| {
        let segment = tcp_at(4000, 80, flags, sequence, acknowledged, 0);
        ip(CLIENT[0], OWN[0], TCP, &segment)
    };
    for (frame, back) in [(SYN, SYN | ACK), (ACK, ACK), (FIN | ACK, FIN | ACK)] {
        let _ = node.receives(&inward(frame));
        let _ = node.sends(&outward(back));
    }
    let _ = node.sends(&ip(OWN[0], CLIENT[0], TCP, &tcp_at(80, 4000, ACK, 3, 3, 0)));
    let _ = node.receives(&inward_at(ACK, 3, 3));
    let flow = *node
        .world
        .flows_v4
        .borrow()
        .values()
        .next()
        .expect("a flow");
    assert_eq!(flow.state.phase, FlowState::PHASE_CLOSING);
    assert_eq!(node.receives(&in_syn()), Allowed);
    let flow = *node
        .world
        .flows_v4
        .borrow()
        .values()
        .next()
        .expect("a flow");
    assert_eq!(
        (flow.state.phase, flow.state.seen),
        (FlowState::PHASE_NEW, 0)
    );
}

#[test]
fn a_late_segment_after_the_flows_life_opens_nothing() {
    let node = Node::new();
    let _ = node.receives(&in_syn());
    node.world.pass(61);
    assert_eq!(node.sends(&outward(ACK)), Policy);
}

#[test]
fn an_established_connection_survives_a_day_without_a_packet_and_no_longer() {
    let node = Node::new();
    let _ = node.receives(&in_syn());
    let _ = node.sends(&outward(SYN | ACK));
    let _ = node.receives(&inward(ACK));
    node.world.pass(24 * 3600);
    assert_eq!(node.sends(&outward(ACK)), Rides);
    node.world.pass(24 * 3600 + 1);
    assert_eq!(node.sends(&outward(ACK)), Policy);
}

#[test]
fn no_age_makes_a_flow_live_again() {
    let flow = Flow {
        last_seen: 1_000,
        ..Flow::default()
    };
    for age in [
        31 * 100,
        1 << 31,
        1 << 32,
        (1 << 32) + 5,
        1 << 40,
        u64::MAX / 2,
    ] {
        assert!(is_expired(&flow, UDP, 1_000 + age, 100), "{age}");
    }
    // Another processor read the clock a moment later.
    assert!(!is_expired(&flow, UDP, 998, 100));
}

#[test]
fn a_lifetime_ends_after_its_last_second() {
    for protocol in [TCP, UDP, SCTP, ICMP, 50] {
        for phase in [
            FlowState::PHASE_NEW,
            FlowState::PHASE_ESTABLISHED,
            FlowState::PHASE_CLOSING,
            FlowState::PHASE_ANSWERED,
            FlowState::PHASE_DOUBTFUL,
        ] {
            let mut flow = Flow::default();
            flow.state.phase = phase;
            let life = u64::from(lifetime(protocol, phase)) * 100;
            assert!(
                !is_expired(&flow, protocol, life, 100),
                "{protocol} {phase}"
            );
            assert!(
                is_expired(&flow, protocol, life + 1, 100),
                "{protocol} {phase}"
            );
        }
    }
}

#[test]
fn packets_of_one_side_never_establish_a_flow() {
    let flow = Flow {
        state: FlowState {
            opener: FlowState::OPENED_BY_PEER,
            ..FlowState::default()
        },
        ..Flow::default()
    };
    let segment = policy_ebpf::packet::Segment::unread(UDP);
    let after = |direction| {
        let mut next = flow;
        advance(&mut next, direction, segment, &Numbers::default(), false);
        next
    };
    let next = after(Direction::Ingress);
    assert_eq!(next.state.phase, FlowState::PHASE_NEW);
    let next = after(Direction::Egress);
    assert_eq!(next.state.phase, FlowState::PHASE_ESTABLISHED);
}

#[test]
fn denied_packets_and_free_endpoints_leave_no_flow() {
    let node = Node::new();
    let _ = node.receives(&ip(STRANGER[0], OWN[0], UDP, &udp(1, 53)));
    let free = Node::new().with(0);
    let _ = free.receives(&ip(STRANGER[0], OWN[0], UDP, &udp(1, 53)));
    assert_eq!((node.world.flows(), free.world.flows()), (0, 0));
}
