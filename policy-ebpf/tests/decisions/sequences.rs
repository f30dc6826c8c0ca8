//! Random sequences of packets: what holds of the flow table whatever comes.

use policy_common::{EndpointId, Flow, FlowKeyV4, FlowState, PortSetId, Reason, Verdict};
use policy_ebpf::flows::life::lifetime;
use proptest::prelude::*;

use crate::{
    frames::{ACK, FIN, RST, SYN, TCP, UDP, ip, tcp_at, udp},
    node::{CLIENT, FRIEND, Node, OWN},
};

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A TCP segment with anything in it.
    Segment {
        is_pods: bool,
        port: u16,
        flags: u8,
        sequence: u32,
        acknowledged: u32,
        length: usize,
    },
    /// A datagram.
    Datagram { is_pods: bool, port: u16 },
    /// So many seconds.
    Time(u32),
    /// The peer's rules change.
    Change(bool),
}

/// Numbers near each other, so that some match.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), 1_000..1_004u32, Just(u32::MAX), any::<u32>()]
}

fn step(is_pods: impl Strategy<Value = bool>, changes: bool) -> impl Strategy<Value = Step> {
    let flags = prop::sample::select(vec![
        SYN,
        SYN,
        SYN | ACK,
        ACK,
        ACK,
        RST,
        RST | ACK,
        FIN | ACK,
        FIN,
        0,
        SYN | FIN,
        0x3f,
    ]);
    (
        is_pods,
        0..100u8,
        1..6u16,
        flags,
        number(),
        number(),
        0..3usize,
    )
        .prop_map(
            move |(is_pods, kind, port, flags, sequence, acknowledged, length)| match kind {
                0..=9 => Step::Time(u32::from(kind).pow(3)),
                10..=13 if changes => Step::Change(kind % 2 == 0),
                10..=29 => Step::Datagram { is_pods, port },
                _ => Step::Segment {
                    is_pods,
                    port,
                    flags,
                    sequence,
                    acknowledged,
                    length,
                },
            },
        )
}

fn take(node: &mut Node, peer: &str, step: &Step) -> Option<Reason> {
    let carries = |is_pods: bool, protocol, segment: &[u8]| {
        if is_pods {
            node.sends(&ip(OWN[0], peer, protocol, segment))
        } else {
            node.receives(&ip(peer, OWN[0], protocol, segment))
        }
    };
    match *step {
        Step::Segment {
            is_pods,
            port,
            flags,
            sequence,
            acknowledged,
            length,
        } => {
            let (source, destination) = if is_pods { (80, port) } else { (port, 80) };
            let segment = tcp_at(source, destination, flags, sequence, acknowledged, length);
            Some(carries(is_pods, TCP, &segment))
        }
        Step::Datagram { is_pods, port } => {
            let (source, destination) = if is_pods { (53, port) } else { (port, 53) };
            Some(carries(is_pods, UDP, &udp(source, destination)))
        }
        Step::Time(seconds) => {
            node.world.pass(seconds);
            None
        }
        Step::Change(opens) => {
            node.change(if opens {
                PortSetId::ALLOW_ALL
            } else {
                PortSetId::DENY_ALL
            });
            None
        }
    }
}

/// The flows that there are.
fn flows(node: &Node) -> Vec<(FlowKeyV4, Flow)> {
    let flows = node.world.flows_v4.borrow();
    flows.iter().map(|(key, flow)| (*key, *flow)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_one_side_sends_alone_makes_nothing_that_lives_for_more_than_a_minute(
        is_pods: bool,
        steps in prop::collection::vec(step(Just(true), false), 1..40),
    ) {
        let mut node = Node::new();
        for one in steps {
            let one = match one {
                Step::Segment { port, flags, sequence, acknowledged, length, .. } =>
                    Step::Segment { is_pods, port, flags, sequence, acknowledged, length },
                Step::Datagram { port, .. } => Step::Datagram { is_pods, port },
                other => other,
            };
            let _ = take(&mut node, FRIEND[0], &one);
            for (key, flow) in flows(&node) {
                prop_assert!(lifetime(key.protocol, flow.state.phase) <= 60, "{flow:?}");
            }
        }
    }

    /// The other side answers every SYN honestly, with a number that the sender does not see.
    #[test]
    fn whoever_does_not_see_the_answers_establishes_nothing(
        is_pods: bool,
        secret in 0x4000_0000..0x8000_0000u32,
        steps in prop::collection::vec(step(Just(true), false), 1..40),
    ) {
        let mut node = Node::new();
        for one in steps {
            let Step::Segment { port, flags, sequence, acknowledged, length, .. } = one else {
                continue;
            };
            prop_assume!(acknowledged.wrapping_sub(secret) > 2);
            let forged = Step::Segment { is_pods, port, flags, sequence, acknowledged, length };
            let passed = take(&mut node, FRIEND[0], &forged).is_some_and(|reason| !reason.is_drop());
            let answer = |flags, number, acknowledged| Step::Segment {
                is_pods: !is_pods,
                // The answer goes back to where the segment came from.
                port,
                flags,
                sequence: number,
                acknowledged,
                length: 0,
            };
            if passed && flags & (SYN | ACK | RST | FIN) == SYN {
                let _ = take(&mut node, FRIEND[0], &answer(SYN | ACK, secret, sequence.wrapping_add(1)));
            } else if passed && flags & ACK != 0 && flags & RST == 0 {
                let _ = take(&mut node, FRIEND[0], &answer(RST, acknowledged, 0));
            }
            for (_, flow) in flows(&node) {
                prop_assert!(
                    ![FlowState::PHASE_ESTABLISHED, FlowState::PHASE_DOUBTFUL].contains(&flow.state.phase),
                    "{flow:?}"
                );
            }
        }
    }

    #[test]
    fn counts_are_those_of_the_table_and_no_tombstone_lets_a_packet_pass(
        limit in 1..6u32,
        steps in prop::collection::vec(step(any::<bool>(), true), 1..80),
    ) {
        let mut node = Node::new();
        node.world.config.pod_opened_limit = limit;
        node.world.config.peer_opened_limit = limit;
        (node.world.config.own_flows, node.world.config.shared_flows, node.world.config.flow_grant) = (2, 6, 2);
        for one in steps {
            let before = flows(&node);
            let now = node.world.now.get();
            let epoch = node.endpoint().epoch;
            let reason = take(&mut node, CLIENT[0], &one);
            let after = flows(&node);
            let counts = node.world.counts.borrow().get(&EndpointId(5)).copied().unwrap_or_default();
            let of = |opener| after.iter().filter(|(_, flow)| flow.state.opener == opener).count() as u32;
            prop_assert_eq!(counts.pod.live, of(FlowState::OPENED_BY_POD));
            prop_assert_eq!(counts.peer.live, of(FlowState::OPENED_BY_PEER));
            prop_assert!(counts.pod.live <= limit && counts.peer.live <= limit);
            prop_assert_eq!(counts.granted, node.world.shared.get());
            prop_assert!(counts.pod.live + counts.peer.live <= 2 + counts.granted);
            // What rides, rides on a flow that allows it; a tombstone under this epoch that lives is
            // replaced only by what the rules allow to begin.
            if reason == Some(Reason::Flow) {
                prop_assert!(after.iter().any(|(_, flow)| flow.state.verdict.allows()));
            }
            for (key, flow) in before {
                let life = u64::from(lifetime(key.protocol, flow.state.phase));
                let lives = now - flow.last_seen <= life * u64::from(node.world.config.hz);
                if flow.state.verdict == Verdict::DENY && flow.state.epoch == epoch && lives {
                    let next = after.iter().find(|(other, _)| *other == key);
                    prop_assert!(next.is_some(), "a tombstone went away");
                    let changed = next.is_some_and(|(_, next)| next.state.verdict.allows());
                    prop_assert!(!changed || reason == Some(Reason::Allowed), "{reason:?}");
                }
            }
        }
    }
}
