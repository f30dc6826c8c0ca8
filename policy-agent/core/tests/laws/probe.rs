//! The packets that tell tables apart, and what tables must not hold.

use std::collections::HashSet;

use policy_common::Direction;
use policy_core::{
    model::Peer,
    oracle::{Facts, Oracle},
    plan::{MemoryTables, Op},
};

use crate::generate::{INTERFACES, V4, V6, address};

const OUTSIDE: [&str; 5] = [
    "10.0.0.9",
    "192.168.0.1",
    "192.168.0.77",
    "::ffff:10.0.0.1",
    "2001:db8::1",
];

/// One packet at one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Probe {
    pub(crate) ifindex: u32,
    pub(crate) direction: Direction,
    pub(crate) peer: Peer,
    pub(crate) protocol: u8,
    pub(crate) port: Option<u16>,
}

/// All pairs × boundary ports × both families.
pub(crate) fn probes() -> Vec<Probe> {
    let packets = [
        (6, Some(79)),
        (6, Some(80)),
        (6, Some(81)),
        (6, Some(8080)),
        (6, Some(65535)),
        (6, None),
        (17, Some(80)),
        (132, Some(81)),
        (1, None),
    ];
    let addresses = V4.iter().chain(&V6).chain(&OUTSIDE);
    let peers: Vec<Peer> = addresses
        .map(|text| Peer::Address(address(text)))
        .chain([Peer::Host])
        .collect();
    let mut probes = Vec::new();
    for ifindex in INTERFACES {
        for direction in [Direction::Ingress, Direction::Egress] {
            for &peer in &peers {
                probes.extend(packets.map(|(protocol, port)| Probe {
                    ifindex,
                    direction,
                    peer,
                    protocol,
                    port,
                }));
            }
        }
    }
    probes
}

pub(crate) fn ask(tables: &MemoryTables, probe: &Probe) -> bool {
    tables.verdict(
        probe.ifindex,
        probe.direction,
        probe.peer,
        probe.protocol,
        probe.port,
    )
}

pub(crate) fn verdicts(tables: &MemoryTables, probes: &[Probe]) -> Vec<bool> {
    probes.iter().map(|probe| ask(tables, probe)).collect()
}

pub(crate) fn expected(facts: &Facts, probes: &[Probe]) -> Vec<bool> {
    let oracle = Oracle::new(facts);
    probes
        .iter()
        .map(|probe| {
            oracle.allows_interface(
                probe.direction,
                probe.ifindex,
                probe.peer,
                probe.protocol,
                probe.port,
            )
        })
        .collect()
}

pub(crate) fn execute(tables: &mut MemoryTables, ops: &[Op]) {
    for op in ops {
        tables.execute(op);
    }
}

/// The probes on which two lists of verdicts differ.
pub(crate) fn differences(probes: &[Probe], got: &[bool], want: &[bool]) -> Vec<(Probe, bool)> {
    let pairs = probes.iter().zip(got.iter().zip(want));
    pairs
        .filter(|(_, (got, want))| got != want)
        .map(|(probe, (got, _))| (*probe, *got))
        .collect()
}

/// Numbers in a table that nothing refers to.
pub(crate) fn leaks(tables: &MemoryTables) -> Vec<String> {
    let directions = tables.endpoints.values();
    let directions: Vec<_> = directions
        .flat_map(|entry| [entry.ingress, entry.egress])
        .flatten()
        .collect();
    let rulesets: HashSet<_> = directions.iter().map(|entry| entry.ruleset).collect();
    let mut ports: HashSet<_> = directions.iter().map(|entry| entry.default_ports).collect();
    ports.extend(tables.rules.values());
    let mut identities: HashSet<_> = tables.cidrs.values().copied().collect();
    identities.extend(tables.addresses.values().map(|value| value.identity));
    let mut leaks = Vec::new();
    for (ruleset, identity) in tables.rules.keys() {
        if !rulesets.contains(ruleset) || (identity.0 >= 16 && !identities.contains(identity)) {
            leaks.push(format!("{ruleset:?} {identity:?}"));
        }
    }
    for set in tables.port_sets.keys() {
        if !ports.contains(set) {
            leaks.push(format!("{set:?}"));
        }
    }
    leaks
}
