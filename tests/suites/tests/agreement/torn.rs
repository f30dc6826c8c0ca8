//! While others are written into the same lines, a peer that has an entry all the time is never missed, and
//! one that never has any is never found.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use policy_agent::datapath::{Datapath, TableSizes};
use policy_bpf::Run;
use policy_common::{
    Direction, IdentityId, PortSetId,
    Reason::{self, Allowed, Policy},
    RulesetId, names,
};
use policy_core::plan::Op;
use policy_harness::wire::{Ethernet, Tcp, ip, transport::flag::ACK};

use crate::{
    cluster::small,
    processors,
    random::Random,
    scene::{self, OWN, Over},
};

const WRITES: usize = 3_000;
/// Writes after which programs may remember again.
const SETTLE: usize = 16;
const BURST: u32 = 100;
/// Packets of each kind, at least.
const PACKETS: u64 = 20_000;
const DEADLINE: Duration = Duration::from_secs(30);
const POD: u32 = 7;
const UPLINK: u32 = 2_000;
const RULES: RulesetId = RulesetId(5);
const FRIEND: IdentityId = IdentityId(20);
const STRANGER: IdentityId = IdentityId(21);
/// Addresses and rules that come and go, of each kind.
const COMERS: u16 = 10;

/// Two or three lines for all.
fn few_lines() -> TableSizes {
    TableSizes {
        max_addresses: 12,
        max_rules: 16,
        ..small()
    }
}

/// Those that come and go are friends; their halves, put together otherwise, are nobody.
fn v6(high: u16, low: u16) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0, 0, high, 0, 0, 0, low).into()
}

fn v4(last: u16) -> IpAddr {
    [10, 0, 1, last as u8].into()
}

fn comer(number: u16) -> [IpAddr; 2] {
    [v4(number), v6(number, number)]
}

fn friends() -> [IpAddr; 2] {
    [v4(200), v6(200, 200)]
}

fn strangers() -> Vec<IpAddr> {
    let halves = (0..COMERS).map(|number| v6(number, (number + 1) % COMERS));
    halves.chain([v4(201), v4(202)]).collect()
}

fn put(address: IpAddr, identity: IdentityId) -> Op {
    Op::PutAddress {
        address,
        identity,
        owner: None,
        host: false,
    }
}

fn load() -> Datapath {
    let rules = scene::rules(RULES);
    let mut ops = friends().map(|friend| put(friend, FRIEND)).to_vec();
    ops.extend([
        Op::PutRule(RULES, FRIEND, PortSetId::ALLOW_ALL),
        Op::PutEndpoint(scene::pod(POD, 3, [rules, rules])),
    ]);
    scene::load(scene::CONFIG, few_lines(), &ops)
}

/// Runs of a segment that opens nothing: from the pod to a peer, or from a peer to the pod.
fn runs(kernel: &mut Datapath, direction: Direction, peers: &[IpAddr]) -> Vec<Run> {
    let (name, ingress_ifindex) = match direction {
        Direction::Egress => (names::FROM_POD, POD),
        Direction::Ingress => (names::TO_POD, UPLINK),
    };
    let program = kernel.programs.descriptor(name).unwrap();
    let origin = scene::at(POD, ingress_ifindex);
    let frame = |peer: &IpAddr| {
        let own = match peer {
            IpAddr::V4(_) => OWN[0].parse().unwrap(),
            IpAddr::V6(_) => OWN[1].parse().unwrap(),
        };
        let (source, destination) = match direction {
            Direction::Egress => (own, *peer),
            Direction::Ingress => (*peer, own),
        };
        let segment = Tcp::new(ACK).segment(
            SocketAddr::new(source, 40_000),
            SocketAddr::new(destination, 80),
        );
        Ethernet::new([2; 6], [2; 6]).ip(&ip::packet(source, destination, 6, &segment))
    };
    let runs = peers.iter().map(|peer| {
        let program = program.try_clone().unwrap();
        Run::new(program, &frame(peer), &origin.context())
    });
    runs.collect()
}

/// One write into the lines of those that stay: an address or a rule comes, changes, or goes.
fn write(random: &mut Random, there: &mut BTreeSet<(u8, u16)>) -> Op {
    let [kind, number, goes, is_friend] = random.bytes(4)[..] else {
        unreachable!("four bytes");
    };
    let (kind, number) = (kind % 3, u16::from(number) % COMERS);
    let identity = IdentityId(30 + u32::from(number));
    let key = (kind, number);
    let goes = there.contains(&key) && goes % 3 > 0;
    if goes {
        there.remove(&key);
    } else {
        there.insert(key);
    }
    match (comer(number).get(usize::from(kind)), goes) {
        (None, true) => Op::DeleteRule(RULES, identity),
        (None, false) => Op::PutRule(RULES, identity, PortSetId::ALLOW_ALL),
        (Some(address), true) => Op::DeleteAddress(*address),
        (Some(address), false) if is_friend % 4 == 0 => put(*address, STRANGER),
        (Some(address), false) => put(*address, FRIEND),
    }
}

#[test]
fn nobody_is_missed_or_found_by_mistake_while_lines_are_written() {
    let mut kernel = load();
    let allowed = runs(&mut kernel, Direction::Egress, &friends());
    let denied = runs(&mut kernel, Direction::Ingress, &strangers());
    let count = |kernel: &Datapath, direction, reason: Reason| {
        kernel.counter(direction, reason).unwrap().packets
    };
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = Over(&is_over);
        for processor in processors::all() {
            let (runs, is_over) = ([&allowed, &denied], &is_over);
            scope.spawn(move || {
                processors::stay_on(processor);
                while !is_over.load(Ordering::Relaxed) {
                    for run in runs.into_iter().flatten() {
                        run.repeat(BURST).unwrap();
                    }
                }
            });
        }
        let mut random = Random::new();
        let mut there = BTreeSet::new();
        let began = Instant::now();
        let mut writes = 0;
        let are_enough = |kernel: &Datapath| {
            count(kernel, Direction::Egress, Allowed) >= PACKETS
                && count(kernel, Direction::Ingress, Policy) >= PACKETS
        };
        while writes < WRITES || !are_enough(&kernel) {
            assert!(
                began.elapsed() < DEADLINE,
                "{writes} writes, or too few packets"
            );
            let failures = kernel.apply(&[write(&mut random, &mut there)]);
            assert!(failures.is_empty(), "{failures:?}");
            writes += 1;
            if writes % SETTLE == 0 {
                kernel.settle().unwrap();
            }
            if writes % 256 == 0 {
                assert_eq!(
                    count(&kernel, Direction::Egress, Policy),
                    0,
                    "missed, {writes}"
                );
                assert_eq!(
                    count(&kernel, Direction::Ingress, Allowed),
                    0,
                    "found, {writes}"
                );
            }
        }
        drop(over);
    });
    assert_eq!(count(&kernel, Direction::Egress, Policy), 0, "missed");
    assert_eq!(count(&kernel, Direction::Ingress, Allowed), 0, "found");
}
