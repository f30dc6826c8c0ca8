//! While packets come on every processor, none is judged by what was before once a change was
//! applied.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use policy_agent::datapath::Datapath;
use policy_bpf::Run;
use policy_common::{
    Direction, IdentityId, PortSetId,
    Reason::{self, Allowed, Flow, FlowDenied, Policy},
    RulesetId, names,
};
use policy_core::plan::Op;
use policy_harness::wire::{
    Ethernet, Tcp, ip,
    transport::flag::{ACK, SYN},
};

use crate::{
    cluster::small,
    processors,
    scene::{self, Over, apply},
};

const CHANGES: usize = 150;
/// Packets that come after a change before it is looked at.
const PACKETS: u64 = 3_000;
/// Packets of one call: few, so that calls begin and end at every moment of a change.
const BURST: u32 = 100;
const DEADLINE: Duration = Duration::from_secs(30);
const POD: u32 = 7;
const PEER: IdentityId = IdentityId(20);
const CLOSED: RulesetId = RulesetId(5);
const OPEN: RulesetId = RulesetId(6);
const OPEN_TOO: RulesetId = RulesetId(7);

fn pod(ruleset: RulesetId) -> Op {
    let rules = scene::rules(ruleset);
    Op::PutEndpoint(scene::pod(POD, 3, [rules, rules]))
}

fn load() -> Datapath {
    let peer = Op::PutAddress {
        address: "10.0.1.1".parse().unwrap(),
        identity: PEER,
        owner: None,
        host: false,
    };
    let allow = |ruleset| Op::PutRule(ruleset, PEER, PortSetId::ALLOW_ALL);
    let ops = [peer, allow(OPEN), allow(OPEN_TOO), pod(OPEN)];
    scene::load(scene::CONFIG, small(), &ops)
}

/// A segment between a port of the pod and the peer's port 80.
fn frame(port: u16, flags: u8, leaves: bool) -> Vec<u8> {
    let own = SocketAddr::new("10.0.0.9".parse().unwrap(), port);
    let peer = SocketAddr::new("10.0.1.1".parse().unwrap(), 80);
    let (source, destination) = if leaves { (own, peer) } else { (peer, own) };
    let segment = Tcp::new(flags).segment(source, destination);
    Ethernet::new([2; 6], [2; 6]).ip(&ip::packet(source.ip(), destination.ip(), 6, &segment))
}

/// Packets that the programs gave one of these reasons.
fn packets(kernel: &Datapath, reasons: [Reason; 2]) -> u64 {
    let count = |reason| kernel.counter(Direction::Egress, reason).unwrap().packets;
    reasons.into_iter().map(count).sum()
}

#[test]
fn no_packet_meets_the_verdict_before_once_a_change_was_applied() {
    let mut kernel = load();
    let (from_pod, answer) = (scene::at(POD, POD), scene::at(POD, 2_000));
    for (program, frame, origin) in [
        (names::FROM_POD, frame(5000, SYN, true), from_pod),
        (names::TO_POD, frame(5000, SYN | ACK, false), answer),
    ] {
        assert!(kernel.test_run(program, &frame, origin).unwrap().passed);
    }
    let program = kernel.programs.descriptor(names::FROM_POD).unwrap();
    // One is judged by the rules each time, one rides on its flow.
    let runs = [4000, 5000].map(|port| {
        let program = program.try_clone().unwrap();
        Run::new(program, &frame(port, ACK, true), &from_pod.context())
    });
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = Over(&is_over);
        for processor in processors::all() {
            let (runs, is_over) = (&runs, &is_over);
            scope.spawn(move || {
                processors::stay_on(processor);
                while !is_over.load(Ordering::Relaxed) {
                    for run in runs {
                        run.repeat(BURST).unwrap();
                    }
                }
            });
        }
        for number in 1..=CHANGES {
            let (change, passes) = match number % 4 {
                1 => (vec![pod(CLOSED)], false),
                2 => (vec![pod(OPEN)], true),
                3 => (vec![pod(CLOSED), pod(OPEN), pod(CLOSED)], false),
                _ => (vec![pod(CLOSED), pod(OPEN_TOO)], true),
            };
            apply(&mut kernel, &change);
            let (now, before) = if passes {
                ([Allowed, Flow], [Policy, FlowDenied])
            } else {
                ([Policy, FlowDenied], [Allowed, Flow])
            };
            let (late, begun) = (packets(&kernel, before), packets(&kernel, now));
            let began = Instant::now();
            while packets(&kernel, now) < begun + PACKETS {
                assert!(began.elapsed() < DEADLINE, "no packets come");
                thread::yield_now();
            }
            assert_eq!(packets(&kernel, before), late, "after change {number}");
        }
        drop(over);
    });
}
