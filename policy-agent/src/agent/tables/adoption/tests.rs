//! Whose open connections are taken over, and what becomes of them.

use policy_common::{PortSetId, RulesetId};
use policy_core::plan::DirectionEntry;

use super::*;
use crate::netlink::conntrack::Tuple;

const RULES: DirectionEntry = DirectionEntry {
    ruleset: RulesetId(1),
    default_ports: PortSetId(1),
    has_blocks: false,
};

fn entry(id: u16, pod: u64, isolated: bool) -> EndpointEntry {
    EndpointEntry {
        ifindex: 100 + u32::from(id),
        id: EndpointId(id),
        bridge: None,
        ingress: isolated.then_some(RULES),
        egress: None,
        addresses: vec![format!("10.1.0.{id}").parse().expect("an address")],
        unknown: false,
        pod_tag: pod,
        mac: None,
        eui_64: false,
        services_later: false,
        new_epoch: true,
    }
}

fn put(id: u16, pod: u64, isolated: bool) -> Op {
    Op::PutEndpoint(entry(id, pod, isolated))
}

fn waits(adoption: &Adoption) -> Vec<u16> {
    adoption.waiting.iter().map(|id| id.0).collect()
}

/// One that began with two pods without policy.
fn with_two_free() -> (Adoption, Instant) {
    let (mut adoption, now) = (Adoption::default(), Instant::now());
    assert!(!adoption.begin(&[], &[put(1, 7, false), put(2, 8, false)], now));
    (adoption, now)
}

fn connection(protocol: u8, source: &str, destination: &str, answers: &str) -> Tracked {
    let [source, destination, answers] =
        [source, destination, answers].map(|end| end.parse().expect("an end"));
    Tracked {
        protocol,
        original: Tuple {
            source,
            destination,
        },
        reply: Tuple {
            source: answers,
            destination: source,
        },
        progress: Progress::Established,
        assured: false,
        picked_up: false,
        tags: (5, 6),
    }
}

#[test]
fn a_pod_takes_over_when_its_first_policy_comes_and_never_again() {
    let (mut adoption, now) = with_two_free();
    assert!(adoption.foresee(&[put(1, 7, true)], now));
    assert_eq!(waits(&adoption), [1]);
    adoption.waiting.clear();
    assert!(!adoption.foresee(&[put(1, 7, true)], now));
    assert!(!adoption.foresee(&[put(1, 7, false)], now));
    assert!(adoption.foresee_all(&[put(1, 7, true)], now));
    assert!(!adoption.standing.contains_key(&EndpointId(2)));
}

#[test]
fn a_pod_that_is_new_takes_over_nothing() {
    let (mut adoption, now) = with_two_free();
    assert!(!adoption.foresee(&[put(3, 9, true)], now), "a new number");
    assert!(
        !adoption.foresee(&[put(1, 9, true)], now),
        "a number given again"
    );
    let gone = Op::DeleteEndpoint {
        ifindex: 102,
        id: EndpointId(2),
    };
    assert!(
        !adoption.foresee(&[gone, put(2, 8, true)], now),
        "an interface made anew"
    );
    let both = [put(4, 9, false), put(4, 9, true)];
    assert!(!adoption.foresee(&both, now), "free only in between");
    let mut unknown = entry(5, 0, false);
    unknown.unknown = true;
    adoption.foresee(&[Op::PutEndpoint(unknown)], now);
    assert!(
        !adoption.foresee(&[put(5, 0, true)], now),
        "closed until now"
    );
}

#[test]
fn a_start_takes_over_for_whoever_was_not_isolated_before() {
    let now = Instant::now();
    let mut first = Adoption::default();
    assert!(first.begin(&[], &[put(1, 7, true), put(2, 8, false)], now));
    assert_eq!(waits(&first), [1]);
    let earlier = |id, pod_tag, flags| Endpoint {
        id: EndpointId(id),
        pod_tag,
        flags,
        ..Endpoint::default()
    };
    let before = [
        earlier(1, 7, Endpoint::INGRESS_ISOLATED),
        earlier(2, 8, 0),
        earlier(3, 1, Endpoint::INGRESS_ISOLATED),
    ];
    let mut next = Adoption::default();
    assert!(next.begin(
        &before,
        &[put(1, 7, true), put(2, 8, true), put(3, 9, true)],
        now
    ));
    assert_eq!(waits(&next), [2, 3]);
    next.waiting.clear();
    next.attached(EndpointId(1));
    next.attached(EndpointId(2));
    assert_eq!(waits(&next), [2]);
}

#[test]
fn each_end_that_waits_has_its_own_flow_of_a_connection() {
    let (mut adoption, now) = with_two_free();
    adoption.foresee(&[put(1, 7, true), put(2, 8, true)], now);
    let call = connection(TCP, "10.1.0.1:4000", "10.96.0.1:80", "10.1.0.2:8080");
    let flows: Vec<_> = adoption.flows(&[call], now).collect();
    let said: Vec<_> = flows
        .iter()
        .map(|flow| {
            let ends = format!("{} {}", flow.pod, flow.peer);
            (flow.endpoint.0, ends, flow.state.opener)
        })
        .collect();
    let by_pod = FlowState::OPENED_BY_POD;
    let by_peer = FlowState::OPENED_BY_PEER;
    assert_eq!(
        said,
        [
            (1, "10.1.0.1:4000 10.96.0.1:80".into(), by_pod),
            (2, "10.1.0.2:8080 10.1.0.1:4000".into(), by_peer),
        ]
    );
    assert_eq!(flows[0].state.phase, FlowState::PHASE_ESTABLISHED);
    let call = connection(SCTP, "10.1.0.1:4000", "192.0.2.1:80", "192.0.2.1:80");
    let tags: Vec<_> = adoption.flows(&[call], now).map(|flow| flow.next).collect();
    assert_eq!(tags, [(6, 5)]);
    let other = connection(TCP, "192.0.2.7:1", "192.0.2.8:2", "192.0.2.8:2");
    assert_eq!(adoption.flows(&[other], now).count(), 0);
}

#[test]
fn datagrams_are_taken_over_only_where_the_address_cannot_have_been_anothers() {
    let (mut adoption, now) = with_two_free();
    adoption.foresee(&[put(3, 9, false)], now);
    adoption.foresee(&[put(1, 7, true), put(3, 9, true)], now);
    let stream = |pod: &str| {
        let pod = format!("{pod}:5000");
        connection(UDP, &pod, "192.0.2.1:53", "192.0.2.1:53")
    };
    let streams = [stream("10.1.0.1"), stream("10.1.0.3")];
    let of = |now| {
        let flows = adoption.flows(&streams, now);
        flows.map(|flow| flow.endpoint.0).collect::<Vec<_>>()
    };
    assert_eq!(of(now), [1]);
    assert_eq!(of(now + 2 * FORGOTTEN), [1, 3]);
}
