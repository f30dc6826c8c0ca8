//! The packets that tell tables apart, and what tables must not hold.

use std::collections::HashSet;

use policy_common::Direction;

use super::{
    oracle::{Facts, Oracle},
    strategies::{INTERFACES, V4, V6, address},
    tables::Tables,
};
use crate::{model::Peer, plan::Contents};

const OUTSIDE: [&str; 5] = [
    "10.0.0.9",
    "192.168.0.1",
    "192.168.0.77",
    "::ffff:10.0.0.1",
    "2001:db8::1",
];

/// One packet at one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Probe {
    /// The interface.
    pub ifindex: u32,
    /// From the pod's side.
    pub direction: Direction,
    /// The other side.
    pub peer: Peer,
    /// IANA number.
    pub protocol: u8,
    /// The destination's, host byte order.
    pub port: Option<u16>,
}

/// All pairs × boundary ports × both families.
pub fn probes() -> Vec<Probe> {
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
    every(&packets, &OUTSIDE)
}

/// These packets (protocol and destination port) in both directions between every endpoint and every
/// address of the clusters, further ones, and the host.
pub fn every(packets: &[(u8, Option<u16>)], outside: &[&str]) -> Vec<Probe> {
    let addresses = V4.iter().chain(&V6).chain(outside);
    let peers: Vec<Peer> = addresses
        .map(|text| Peer::Address(address(text)))
        .chain([Peer::Host])
        .collect();
    let mut probes = Vec::new();
    for ifindex in INTERFACES {
        for direction in [Direction::Ingress, Direction::Egress] {
            for &peer in &peers {
                probes.extend(packets.iter().map(|&(protocol, port)| Probe {
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

/// What the tables say.
pub fn ask(tables: &Tables, probe: &Probe) -> bool {
    tables.verdict(
        probe.ifindex,
        probe.direction,
        probe.peer,
        probe.protocol,
        probe.port,
    )
}

/// What the tables say, in the order of the probes.
pub fn verdicts(tables: &Tables, probes: &[Probe]) -> Vec<bool> {
    probes.iter().map(|probe| ask(tables, probe)).collect()
}

/// What the specification says, in the order of the probes.
pub fn expected(facts: &Facts, probes: &[Probe]) -> Vec<bool> {
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

/// The probes on which two lists of verdicts differ.
pub fn differences(probes: &[Probe], got: &[bool], want: &[bool]) -> Vec<(Probe, bool)> {
    let pairs = probes.iter().zip(got.iter().zip(want));
    pairs
        .filter(|(_, (got, want))| got != want)
        .map(|(probe, (got, _))| (*probe, *got))
        .collect()
}

/// Numbers in a table that nothing refers to.
pub fn leaks(tables: &Contents) -> Vec<String> {
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
