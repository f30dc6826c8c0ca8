//! What plans have written, row by row.
//!
//! Keeps rows and asks nothing of them: their meaning is the programs'. Invariant: an operation
//! that breaks a law of the tables is listed, and executed all the same.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use policy_common::{IdentityId, PortSetId, RulesetId};

use super::{
    delta::AddressValue,
    op::{EndpointEntry, Op, PortSetEntry},
};
/// The rows of all tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
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

impl Rows {
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

    fn has_ports(&self, id: PortSetId) -> bool {
        id < PortSetId::FIRST || self.port_sets.contains_key(&id)
    }

    fn check(&mut self, lawful: bool, op: &Op) {
        if !lawful {
            self.problems.push(format!("{op:?}"));
        }
    }
}
