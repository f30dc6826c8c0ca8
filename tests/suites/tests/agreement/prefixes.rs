//! Every prefix of a plan, executed in the kernel, gives the old or the new verdict.

use std::net::{IpAddr, SocketAddr};

use policy_agent::datapath::{Datapath, LoadOptions, TestOrigin};
use policy_common::{Config, Direction, names};
use policy_core::{
    laws::{
        Probe, Tables,
        probe::{self, ask},
        strategies as generate,
    },
    model::Peer,
    plan::Op,
    resolve::Resolver,
};
use policy_harness::wire::{Ethernet, Tcp, icmp, ip, sctp};

use crate::{
    cluster::{inhabit, open, small},
    random::Random,
};

const CLUSTERS: usize = 5;
const CHANGES: usize = 15;
const UPLINK: u32 = 2_000;
const TIMESTAMP: u8 = 13;
const DATA: u8 = 0;

/// Packets that open nothing, so that no probe answers for a later one.
fn probes() -> Vec<Probe> {
    let outside = ["10.0.0.9", "192.168.0.1", "192.168.0.77", "2001:db8::1"];
    let packets = [
        (6, Some(80)),
        (6, Some(81)),
        (6, Some(65_535)),
        (132, Some(80)),
        (1, None),
    ];
    probe::every(&packets, &outside)
}

/// The pod's address, when it has the same one before and after: a packet of an address that
/// is not the pod's is dropped for that.
fn own(probe: &Probe, before: &Tables, after: &Tables) -> Option<IpAddr> {
    let v6 = match probe.peer {
        Peer::Address(address) => address.is_ipv6(),
        // As destination that is an address like another.
        Peer::Host if probe.direction == Direction::Egress => return None,
        Peer::Host => false,
    };
    let of = |tables: &Tables| {
        let entry = tables.contents().endpoints.get(&probe.ifindex)?;
        let mut addresses = entry.addresses.iter().copied();
        addresses.find(|address| address.is_ipv6() == v6)
    };
    of(before).filter(|address| of(after) == Some(*address))
}

fn passes(probe: &Probe, kernel: &mut Datapath, own: IpAddr) -> bool {
    let (peer, is_host) = match probe.peer {
        Peer::Address(address) => (address, false),
        Peer::Host => ("203.0.113.1".parse().unwrap(), true),
    };
    let (program, source, destination) = match probe.direction {
        Direction::Ingress => (names::TO_POD, peer, own),
        Direction::Egress => (names::FROM_POD, own, peer),
    };
    let origin = TestOrigin {
        ifindex: probe.ifindex,
        ingress_ifindex: match probe.direction {
            Direction::Ingress if is_host => 0,
            // What comes from the pod's own address came from the pod.
            Direction::Ingress if peer != own => UPLINK,
            _ => probe.ifindex,
        },
        socket: is_host,
        foreign_socket: false,
        stamp: 0,
    };
    let port = probe.port.unwrap_or_default();
    let payload = match probe.protocol {
        6 => Tcp::new(0x10).segment(
            SocketAddr::new(source, 40_000),
            SocketAddr::new(destination, port),
        ),
        132 => sctp::packet(40_000, port, 1, &[DATA, 0, 0, 4]),
        _ => icmp::message(source, destination, TIMESTAMP, 0, &[0; 16]),
    };
    let packet = ip::packet(source, destination, probe.protocol, &payload);
    let frame = Ethernet::new([2; 6], [2; 6]).ip(&packet);
    kernel.test_run(program, &frame, origin).unwrap().passed
}

/// Executes a plan step by step. How many verdicts changed.
fn check(kernel: &mut Datapath, tables: &mut Tables, ops: &[Op], probes: &[Probe]) -> usize {
    let before = tables.clone();
    tables.execute_all(ops);
    let judged: Vec<_> = probes
        .iter()
        .filter_map(|probe| {
            let own = own(probe, &before, tables)?;
            Some((probe, own, ask(&before, probe), ask(tables, probe)))
        })
        .collect();
    for (step, op) in ops.iter().enumerate() {
        let failures = kernel.apply(std::slice::from_ref(op));
        assert!(failures.is_empty(), "{failures:?}");
        // Every other step is met while programs may remember, the rest before they may.
        if step % 2 == 0 {
            kernel.settle().unwrap();
        }
        let is_last = step + 1 == ops.len();
        if !op.is_visible() && !is_last {
            continue;
        }
        for &(probe, own, old, new) in &judged {
            let now = passes(probe, kernel, own);
            assert!(
                now == new || (now == old && !is_last),
                "after step {step} of {ops:#?}: {probe:?} from or to {own} is {now}, was {old}, \
                 will be {new}"
            );
        }
    }
    judged.iter().filter(|(_, _, old, new)| old != new).count()
}

#[test]
fn every_prefix_of_a_plan_executed_in_the_kernel_gives_old_or_new_verdicts() {
    let mut random = Random::new();
    let mut changed = 0;
    for _ in 0..CLUSTERS {
        let mut kernel = Datapath::load(
            &LoadOptions {
                config: Config {
                    test_seam: 1,
                    ..Config::DEFAULT
                },
                sizes: small(),
                ..LoadOptions::embedded().unwrap()
            },
            &[],
        )
        .unwrap();
        let mut resolver = Resolver::new();
        let mut tables = Tables::default();
        let facts = random.value(&generate::facts());
        facts.changes().for_each(|change| resolver.apply(change));
        generate::INTERFACES.for_each(|ifindex| resolver.apply(inhabit(ifindex)));
        let ops = resolver.commit();
        assert!(kernel.apply(&ops).is_empty());
        kernel.settle().unwrap();
        tables.execute_all(&ops);
        let probes = probes();
        for step in 0..CHANGES {
            for change in [random.value(&generate::change()), open(step)] {
                resolver.apply(change);
                let ops = resolver.commit();
                changed += check(&mut kernel, &mut tables, &ops, &probes);
            }
            if step % 3 == 0 {
                let ops = resolver.collect();
                changed += check(&mut kernel, &mut tables, &ops, &probes);
            }
        }
    }
    assert!(
        changed > 1_000,
        "only {changed} verdicts changed: the test says little"
    );
}
