//! Endpoints by number, and events about them, in the kernel: needs root and the eBPF object.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use policy_agent::datapath::{Datapath, LoadOptions, TableSizes, TestOrigin};
use policy_common::{
    Config, Direction, EndpointId, IdentityId, PortSetId, Reason, RulesetId, Verdict, names,
};
use policy_core::plan::{DirectionEntry, EndpointEntry, Op};

fn load(event_rate: u32, event_burst: u32) -> Datapath {
    Datapath::load(
        &LoadOptions {
            config: Config {
                test_seam: 1,
                event_rate,
                event_burst,
                ..Config::DEFAULT
            },
            sizes: TableSizes {
                max_endpoints: 16,
                ..TableSizes::default()
            },
            ..LoadOptions::embedded().unwrap()
        },
        &[],
    )
    .unwrap()
}

/// An endpoint at 10.0.0.9 of which ingress is isolated by this ruleset, or not at all.
fn endpoint(ifindex: u32, id: u16, ruleset: Option<u32>) -> Op {
    Op::PutEndpoint(EndpointEntry {
        ifindex,
        id: EndpointId(id),
        bridge: None,
        ingress: ruleset.map(|ruleset| DirectionEntry {
            ruleset: RulesetId(ruleset),
            default_ports: PortSetId::DENY_ALL,
            has_blocks: false,
        }),
        egress: None,
        addresses: vec!["10.0.0.9".parse().unwrap()],
        unknown: false,
        pod_tag: 77,
        mac: None,
        eui_64: false,
        services_later: false,
        new_epoch: true,
    })
}

/// An Ethernet frame with a UDP packet from 10.0.0.1, port 12345, to 10.0.0.9, port 53.
fn udp() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
    frame.extend([0x45, 0, 0, 32, 0, 1, 0x40, 0, 64, 17, 0, 0]);
    frame.extend([10, 0, 0, 1, 10, 0, 0, 9]);
    frame.extend([0x30, 0x39, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
    frame
}

/// Whether the packet reaches the pod behind the interface.
fn passes(datapath: &mut Datapath, ifindex: u32) -> bool {
    let origin = TestOrigin {
        ifindex,
        ingress_ifindex: 3,
        ..TestOrigin::default()
    };
    let outcome = datapath.test_run(names::TO_POD, &udp(), origin).unwrap();
    outcome.passed
}

#[test]
fn interfaces_that_take_turns_in_a_slot_are_never_taken_for_each_other() {
    let mut datapath = load(10, 50);
    // Their indices agree in the low eight bits, and so do the numbers of none.
    let ops = [
        endpoint(7, 1, None),
        endpoint(7 + 256, 2, Some(5)),
        endpoint(7 + 512, 3, None),
    ];
    assert!(datapath.apply(&ops).is_empty());
    for _ in 0..50 {
        assert!(passes(&mut datapath, 7));
        assert!(!passes(&mut datapath, 7 + 256));
        assert!(passes(&mut datapath, 7 + 512));
        assert!(!passes(&mut datapath, 7 + 768), "no endpoint");
    }
}

#[test]
fn an_interface_that_gets_another_number_is_judged_by_its_entry() {
    let mut datapath = load(10, 50);
    assert!(datapath.apply(&[endpoint(7, 1, Some(5))]).is_empty());
    assert!(!passes(&mut datapath, 7));
    assert!(datapath.apply(&[endpoint(7, 2, None)]).is_empty());
    assert!(passes(&mut datapath, 7));
    let [now] = datapath.endpoints().unwrap()[..] else {
        panic!("the entry before is left");
    };
    assert_eq!(now.id, EndpointId(2));
    // Its number is another interface's now.
    let ops = [
        Op::DeleteEndpoint {
            ifindex: 7,
            id: EndpointId(2),
        },
        endpoint(8, 2, Some(5)),
    ];
    assert!(datapath.apply(&ops).is_empty());
    assert!(!passes(&mut datapath, 7), "no endpoint");
    assert!(!passes(&mut datapath, 8));
    assert!(datapath.apply(&[endpoint(9, 1, None)]).is_empty());
    assert!(passes(&mut datapath, 9));
}

#[test]
fn an_event_says_the_packet_and_the_tables_by_which_it_was_judged() {
    let mut datapath = load(10, 50);
    let ops = [
        Op::PutAddress {
            address: "10.0.0.1".parse().unwrap(),
            identity: IdentityId(20),
            owner: None,
            host: false,
        },
        endpoint(7, 1, Some(5)),
    ];
    assert!(datapath.apply(&ops).is_empty());
    let epoch = datapath.endpoints().unwrap()[0].epoch;
    assert!(!passes(&mut datapath, 7));
    // What is changed before anybody reads does not change what is said.
    assert!(datapath.apply(&[endpoint(7, 1, Some(6))]).is_empty());
    let [event] = datapath.read_events(10)[..] else {
        panic!("one event");
    };
    assert_eq!((event.endpoint, event.ifindex), (EndpointId(1), 7));
    assert_eq!((event.ruleset, event.epoch), (5, epoch));
    assert_eq!((event.identity, event.verdict), (20, Verdict::DENY));
    assert_eq!(event.reason, Reason::Policy as u8);
    assert_eq!(event.direction, Direction::Ingress as u8);
    assert_eq!(event.source[..4], [10, 0, 0, 1]);
    assert_eq!(event.destination[..4], [10, 0, 0, 9]);
    let ports = [event.source_port, event.destination_port].map(u16::from_be_bytes);
    assert_eq!(ports, [12_345, 53]);
    assert_ne!(event.time, 0);
}

#[test]
fn a_full_ring_loses_no_count() {
    let mut datapath = load(u32::MAX, u32::MAX);
    assert!(datapath.apply(&[endpoint(7, 1, Some(5))]).is_empty());
    // More than fit in the ring.
    const DROPS: usize = 15_000;
    for _ in 0..DROPS {
        assert!(!passes(&mut datapath, 7));
    }
    let written = datapath.read_events(usize::MAX).len();
    assert!((1..DROPS).contains(&written), "{written} events fit");
    assert!(!passes(&mut datapath, 7));
    let [event] = datapath.read_events(10)[..] else {
        panic!("one event");
    };
    assert_eq!(event.suppressed as usize, DROPS - written);
}

#[test]
fn a_small_budget_loses_no_count() {
    let mut datapath = load(0, 3);
    assert!(datapath.apply(&[endpoint(7, 1, Some(5))]).is_empty());
    for _ in 0..100 {
        assert!(!passes(&mut datapath, 7));
    }
    assert_eq!(datapath.read_events(1_000).len(), 3);
    // No further drop says so.
    let untold = |datapath: &mut Datapath| datapath.untold_drops().unwrap();
    assert_eq!(untold(&mut datapath), [(EndpointId(1), 97)].into());
    assert_eq!(untold(&mut datapath), [].into(), "it is told once");
}

#[test]
fn a_number_that_is_used_again_inherits_no_count() {
    let mut datapath = load(0, 1);
    assert!(datapath.apply(&[endpoint(7, 1, Some(5))]).is_empty());
    for _ in 0..10 {
        assert!(!passes(&mut datapath, 7));
    }
    let ended = datapath.untold_drops().unwrap();
    assert_eq!(ended, [(EndpointId(1), 9)].into());
    let again = [
        Op::DeleteEndpoint {
            ifindex: 7,
            id: EndpointId(1),
        },
        endpoint(8, 1, Some(5)),
    ];
    assert!(datapath.apply(&again).is_empty());
    assert!(!passes(&mut datapath, 8));
    assert_eq!(
        datapath.untold_drops().unwrap(),
        [(EndpointId(1), 1)].into()
    );
}
