//! The kernel's tables in memory: executes operations and gives the verdicts that the programs
//! give. For tests of plans, here and in other crates.
//!
//! Invariant: follows the order of look-ups of the programs literally; never clever.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use policy_common::{Direction, IdentityId, PortSetId, RulesetId, Verdict};

use super::{
    delta::AddressValue,
    op::{DirectionEntry, EndpointEntry, Op, PortRange, PortSetEntry},
};
use crate::model::Peer;

/// The tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryTables {
    /// PORT_SETS and PORTS, without the two that are built in.
    pub port_sets: HashMap<PortSetId, Arc<[PortSetEntry]>>,
    /// RULES.
    pub rules: HashMap<(RulesetId, IdentityId), PortSetId>,
    /// ADDRESSES_V4 and _V6.
    pub addresses: HashMap<IpAddr, AddressValue>,
    /// CIDRS_V4 and _V6.
    pub cidrs: BTreeMap<IpNet, IdentityId>,
    /// ENDPOINTS.
    pub endpoints: BTreeMap<u32, EndpointEntry>,
    problems: Vec<String>,
}

impl MemoryTables {
    /// Executes one operation.
    pub fn execute(&mut self, op: &Op) {
        match op {
            Op::PutPortSet(id, entries) => {
                let taken = self.port_sets.insert(*id, entries.clone()).is_some();
                self.check(!taken && *id >= PortSetId::FIRST, op);
            }
            Op::DeletePortSet(id, entries) => {
                let removed = self.port_sets.remove(id);
                let used = self.rules.values().any(|ports| ports == id);
                self.check(removed.as_ref() == Some(entries) && !used, op);
            }
            Op::PutRule(ruleset, identity, ports) => {
                self.check(self.has_ports(*ports), op);
                let before = self.rules.insert((*ruleset, *identity), *ports);
                self.check(before.is_none_or(|before| before == *ports), op);
            }
            Op::DeleteRule(ruleset, identity) => {
                let removed = self.rules.remove(&(*ruleset, *identity)).is_some();
                self.check(removed, op);
            }
            &Op::PutAddress {
                address,
                identity,
                owner,
                host,
            } => {
                let value = AddressValue {
                    identity,
                    owner,
                    host,
                };
                self.addresses.insert(address, value);
            }
            Op::DeleteAddress(address) => {
                let removed = self.addresses.remove(address).is_some();
                self.check(removed, op);
            }
            &Op::PutCidr(net, identity) => {
                self.cidrs.insert(net, identity);
            }
            Op::DeleteCidr(net) => {
                let removed = self.cidrs.remove(net).is_some();
                self.check(removed, op);
            }
            Op::PutEndpoint(entry) => {
                let directions = [entry.ingress, entry.egress];
                let complete = directions.iter().flatten().all(|direction| {
                    self.has_ports(direction.default_ports)
                        && self
                            .rules
                            .contains_key(&(direction.ruleset, IdentityId::HOST))
                });
                self.check(complete, op);
                self.endpoints.insert(entry.ifindex, entry.clone());
            }
            Op::DeleteEndpoint { ifindex, id } => {
                let removed = self.endpoints.remove(ifindex);
                self.check(removed.is_some_and(|entry| entry.id == *id), op);
            }
            Op::Grace => {}
        }
    }

    /// The operations so far that broke a law of the tables: a number used twice, something
    /// removed that is not there or still in use, something named that does not exist.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The verdict on a packet between the endpoint of an interface and a peer; `port` is the
    /// destination's, `None` for packets without ports. An interface without entry is not enforced.
    pub fn verdict(
        &self,
        ifindex: u32,
        direction: Direction,
        peer: Peer,
        protocol: u8,
        port: Option<u16>,
    ) -> bool {
        let Some(endpoint) = self.endpoints.get(&ifindex) else {
            return true;
        };
        let rules = match direction {
            Direction::Ingress => endpoint.ingress,
            Direction::Egress => endpoint.egress,
        };
        if endpoint.unknown {
            return peer == Peer::Host
                || (direction == Direction::Egress && self.is_host_address(peer));
        }
        let Some(rules) = rules else { return true };
        let identity = self.identity(endpoint, rules, direction, peer);
        let listed = self.rules.get(&(rules.ruleset, identity));
        let ports = listed.copied().unwrap_or(rules.default_ports);
        self.ports_allow(ports, protocol, port)
    }

    /// The identity of a peer, as the programs look it up.
    fn identity(
        &self,
        endpoint: &EndpointEntry,
        rules: DirectionEntry,
        direction: Direction,
        peer: Peer,
    ) -> IdentityId {
        let Peer::Address(address) = peer else {
            return IdentityId::HOST;
        };
        if direction == Direction::Egress && self.is_host_address(peer) {
            return IdentityId::HOST;
        }
        if endpoint.addresses.contains(&address) {
            return IdentityId::SELF;
        }
        if let Some(value) = self.addresses.get(&address) {
            return value.identity;
        }
        if rules.has_blocks {
            let longest = self
                .cidrs
                .iter()
                .filter(|(net, _)| net.contains(&address))
                .max_by_key(|(net, _)| net.prefix_len());
            if let Some((_, &identity)) = longest {
                return identity;
            }
        }
        IdentityId::WORLD
    }

    fn is_host_address(&self, peer: Peer) -> bool {
        match peer {
            Peer::Host => true,
            Peer::Address(address) => self.addresses.get(&address).is_some_and(|value| value.host),
        }
    }

    fn ports_allow(&self, ports: PortSetId, protocol: u8, port: Option<u16>) -> bool {
        match ports {
            PortSetId::DENY_ALL => return false,
            PortSetId::ALLOW_ALL => return true,
            _ => {}
        }
        let Some(entries) = self.port_sets.get(&ports) else {
            return false;
        };
        let longest = entries
            .iter()
            .filter_map(|entry| Some((match_bits(entry.range, protocol, port)?, entry.verdict)))
            .max_by_key(|&(bits, _)| bits);
        longest.is_some_and(|(_, verdict): (u8, Verdict)| verdict.allows())
    }

    fn has_ports(&self, id: PortSetId) -> bool {
        id < PortSetId::FIRST || self.port_sets.contains_key(&id)
    }

    fn check(&mut self, lawful: bool, op: &Op) {
        if !lawful {
            self.problems.push(format!("{op:?}"));
        }
    }
}

/// How much of the packet the range fixes, if it covers the packet.
fn match_bits(range: PortRange, protocol: u8, port: Option<u16>) -> Option<u8> {
    match range {
        PortRange::AnyProtocol => Some(0),
        PortRange::Protocol(of) => (of == protocol).then_some(8),
        PortRange::Prefix {
            protocol: of,
            port: prefix,
            bits,
        } => {
            let same = (port? ^ prefix)
                .checked_shr(16 - u32::from(bits))
                .is_none_or(|differs| differs == 0);
            (of == protocol && same).then_some(8 + bits)
        }
    }
}
