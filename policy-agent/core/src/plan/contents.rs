//! What tables hold, without a word about what it means.
//!
//! Knows operations, not verdicts. For planning from what is there to what is wanted.

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

/// The elements of every table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// PORT_SETS and PORTS, without the two that are built in.
    pub port_sets: BTreeMap<PortSetId, Arc<[PortSetEntry]>>,
    /// RULES.
    pub rules: HashMap<(RulesetId, IdentityId), PortSetId>,
    /// ADDRESSES_V4 and _V6.
    pub addresses: BTreeMap<IpAddr, AddressValue>,
    /// CIDRS_V4 and _V6.
    pub cidrs: BTreeMap<IpNet, IdentityId>,
    /// ENDPOINTS, by interface.
    pub endpoints: BTreeMap<u32, EndpointEntry>,
}

impl Contents {
    /// What operations write into empty tables.
    pub fn of(ops: &[Op]) -> Self {
        let mut contents = Self::default();
        for op in ops {
            contents.execute(op);
        }
        contents
    }

    /// Executes one operation.
    pub fn execute(&mut self, op: &Op) {
        match op {
            Op::PutPortSet(id, entries) => {
                self.port_sets.insert(*id, entries.clone());
            }
            Op::DeletePortSet(id, _) => {
                self.port_sets.remove(id);
            }
            Op::PutRule(ruleset, identity, ports) => {
                self.rules.insert((*ruleset, *identity), *ports);
            }
            Op::DeleteRule(ruleset, identity) => {
                self.rules.remove(&(*ruleset, *identity));
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
                self.addresses.remove(address);
            }
            Op::PutCidr(net, identity) => {
                self.cidrs.insert(*net, *identity);
            }
            Op::DeleteCidr(net) => {
                self.cidrs.remove(net);
            }
            Op::PutEndpoint(entry) => {
                self.endpoints.insert(entry.ifindex, entry.clone());
            }
            Op::DeleteEndpoint { ifindex, .. } => {
                self.endpoints.remove(ifindex);
            }
            Op::Grace => {}
        }
    }
}
