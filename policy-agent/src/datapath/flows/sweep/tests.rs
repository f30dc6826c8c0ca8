//! Tests of when an entry is over.

use policy_common::Verdict;
use policy_ebpf::packet::protocol::TCP;

use super::*;

#[test]
fn a_count_is_corrected_only_beyond_what_moved_during_the_walk() {
    assert_eq!(corrected(10, 10, 0, 7), 7);
    assert_eq!(corrected(10, 13, 0, 11), 13);
    assert_eq!(corrected(u32::MAX, u32::MAX, 0, 4), 4);
    // Three that were lent may have begun where the walk had been.
    assert_eq!(corrected(13, 13, 3, 10), 13);
}

const HZ: u32 = 100;
const NOW: u64 = 1_000_000;
const POD: EndpointId = EndpointId(4);

fn is_over(expiry: &Expiry<'_>, phase: u8, opener: u8, verdict: Verdict, idle: u32) -> bool {
    is_over_of(expiry, TCP, phase, opener, verdict, idle)
}

fn is_over_of(
    expiry: &Expiry<'_>,
    protocol: u8,
    phase: u8,
    opener: u8,
    verdict: Verdict,
    idle: u32,
) -> bool {
    let key = FlowKeyV4 {
        endpoint: POD,
        protocol,
        ..FlowKeyV4::default()
    };
    let flow = Flow {
        state: FlowState {
            phase,
            opener,
            verdict,
            ..FlowState::default()
        },
        last_seen: NOW - u64::from(idle * HZ),
        ..Flow::default()
    };
    expiry.is_over(&key, &flow)
}

#[test]
fn near_the_limit_idle_flows_end_early_unless_they_are_connections() {
    let (pod, peer) = (FlowState::OPENED_BY_POD, FlowState::OPENED_BY_PEER);
    let live = BTreeSet::from([POD]);
    let expiry = Expiry {
        live: &live,
        pressed: BTreeSet::from([(POD, peer)]),
        now: NOW,
        hz: HZ,
    };
    for spare in [
        FlowState::PHASE_NEW,
        FlowState::PHASE_ANSWERED,
        FlowState::PHASE_CLOSING,
        FlowState::PHASE_DOUBTFUL,
    ] {
        assert!(is_over(&expiry, spare, peer, Verdict::ALLOW, 6));
        assert!(!is_over(&expiry, spare, peer, Verdict::ALLOW, 5));
        assert!(!is_over(&expiry, spare, pod, Verdict::ALLOW, 59));
        assert!(!is_over(&expiry, spare, peer, Verdict::DENY, 59));
        assert!(is_over(&expiry, spare, pod, Verdict::ALLOW, 601));
    }
    let answered = FlowState::PHASE_ESTABLISHED;
    assert!(!is_over(&expiry, answered, peer, Verdict::ALLOW, 3_600));
    let udp = |opener, verdict, idle| is_over_of(&expiry, UDP, answered, opener, verdict, idle);
    assert!(udp(peer, Verdict::ALLOW, 31));
    assert!(!udp(peer, Verdict::ALLOW, 30));
    assert!(!udp(peer, Verdict::DENY, 119));
    assert!(!udp(pod, Verdict::ALLOW, 119));
}
