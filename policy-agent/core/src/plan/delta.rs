//! What must change in the kernel's tables, and the order in which that is safe.
//!
//! Knows nothing of policies. Invariant: executed in the order of the plan, at every step the
//! verdict for any packet is the one before or the one after the change.
//!
//! Why the orders are safe: a commit only adds predicates, so each new identity says to the
//! rulesets in use what the old one said, and rulesets that ask for the added predicates are
//! reached only by the swap of an endpoint, at the end. (So an identity whose addresses all gain the
//! same predicates may keep its number: only rulesets that nothing reaches yet tell the difference.)
//! A collection only removes predicates for which no ruleset in use asks. What is left are facts: one address, or one endpoint, each one
//! write. The one pair that two facts decide is an endpoint and an address that becomes its own
//! while another pod, or the host, had it; see [`Delta::commit_plan`].

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use policy_common::{EndpointId, IdentityId, PortSetId, RulesetId};

use super::op::{EndpointEntry, Op, PortSetEntry};

/// What ADDRESSES says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressValue {
    /// Its identity.
    pub identity: IdentityId,
    /// The local endpoint that owns it.
    pub owner: Option<EndpointId>,
    /// An address of this host.
    pub host: bool,
}

/// One change of ADDRESSES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressWrite {
    /// The address.
    pub address: IpAddr,
    /// What the table says.
    pub before: Option<AddressValue>,
    /// What it must say.
    pub after: Option<AddressValue>,
}

impl AddressWrite {
    /// The write.
    pub fn op(&self) -> Op {
        match self.after {
            Some(value) => Op::PutAddress {
                address: self.address,
                identity: value.identity,
                owner: value.owner,
                host: value.host,
            },
            None => Op::DeleteAddress(self.address),
        }
    }
}

/// One change of ENDPOINTS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointWrite {
    /// What the table says.
    pub before: Option<EndpointEntry>,
    /// What it must say.
    pub after: Option<EndpointEntry>,
}

/// Everything that must change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// New port sets.
    pub port_sets: Vec<(PortSetId, Arc<[PortSetEntry]>)>,
    /// New rules.
    pub rules: Vec<(RulesetId, IdentityId, PortSetId)>,
    /// New or changed prefixes (`Some`), and prefixes to remove.
    pub cidrs: Vec<(IpNet, Option<IdentityId>)>,
    /// Addresses whose identity gets finer or coarser; to the rulesets in use it says the same.
    pub refined: Vec<AddressWrite>,
    /// New, changed and removed addresses.
    pub addresses: Vec<AddressWrite>,
    /// New, changed and removed endpoints.
    pub endpoints: Vec<EndpointWrite>,
    /// Rules that nothing reaches any more.
    pub dead_rules: Vec<(RulesetId, IdentityId)>,
    /// Port sets that nothing reaches any more.
    pub dead_port_sets: Vec<(PortSetId, Arc<[PortSetEntry]>)>,
}

impl Delta {
    /// The order for a commit.
    ///
    /// An endpoint that gains an address which has an entry already is swapped before the address
    /// is written: until then the pair has the old verdict, from then on the endpoint's own
    /// address is allowed. Where the entry has room, the gain is a swap of its own ahead of
    /// everything else, because another endpoint may lose the same address and must be swapped
    /// after the write. Where it has none, the pod itself has a new address; no other endpoint
    /// loses and gains in the same family then, since a pod has at most one of each.
    pub fn commit_plan(mut self) -> Vec<Op> {
        let mut ops = self.tables_plan();
        let gained: BTreeSet<IpAddr> = self
            .endpoints
            .iter()
            .flat_map(EndpointWrite::gains)
            .collect();
        let taken: BTreeSet<IpAddr> = self
            .addresses
            .iter()
            .filter(|write| write.before.is_some() && gained.contains(&write.address))
            .map(|write| write.address)
            .collect();
        ops.extend(self.endpoints.iter_mut().filter_map(|w| w.gain(&taken)));

        let late: BTreeSet<IpAddr> = self
            .endpoints
            .iter()
            .flat_map(|write| write.gained(&taken))
            .collect();
        let is_late = |write: &&AddressWrite| late.contains(&write.address);
        let (first, last): (Vec<&EndpointWrite>, Vec<_>) = self
            .endpoints
            .iter()
            .partition(|write| write.gained(&taken).next().is_some());
        ops.extend(cidr_ops(&self.cidrs));
        ops.extend(self.refined.iter().map(AddressWrite::op));
        let early = self.addresses.iter().filter(|write| !is_late(write));
        ops.extend(early.map(AddressWrite::op));
        ops.extend(first.into_iter().filter_map(EndpointWrite::op));
        ops.extend(self.addresses.iter().filter(is_late).map(AddressWrite::op));
        ops.extend(last.into_iter().filter_map(EndpointWrite::op));
        ops
    }

    /// The order for a collection. Programs that read an endpoint before its last swap must have
    /// ended before anything moves; those that saw an old identity before its rules go, but that
    /// removals see to themselves.
    pub fn collect_plan(mut self) -> Vec<Op> {
        let moves = self.tables_plan();
        let cidrs = cidr_ops(&self.cidrs);
        let addresses = self.refined.iter().chain(&self.addresses);
        let addresses = addresses.map(AddressWrite::op);
        let moves: Vec<Op> = moves.into_iter().chain(cidrs).chain(addresses).collect();
        let rules = self
            .dead_rules
            .iter()
            .map(|&(ruleset, identity)| Op::DeleteRule(ruleset, identity));
        let port_sets = std::mem::take(&mut self.dead_port_sets)
            .into_iter()
            .map(|(id, entries)| Op::DeletePortSet(id, entries));
        let removals: Vec<Op> = rules.chain(port_sets).collect();

        if moves.is_empty() && removals.is_empty() {
            return Vec::new();
        }
        let mut ops = vec![Op::Grace];
        ops.extend(moves);
        ops.extend(removals);
        ops
    }

    /// New port sets, then the rules that name them: nothing reaches either yet.
    fn tables_plan(&mut self) -> Vec<Op> {
        let port_sets = std::mem::take(&mut self.port_sets).into_iter();
        let rules = self.rules.iter();
        port_sets
            .map(|(id, entries)| Op::PutPortSet(id, entries))
            .chain(rules.map(|&(ruleset, identity, ports)| Op::PutRule(ruleset, identity, ports)))
            .collect()
    }
}

fn cidr_ops(cidrs: &[(IpNet, Option<IdentityId>)]) -> impl Iterator<Item = Op> {
    cidrs.iter().map(|&(net, identity)| match identity {
        Some(identity) => Op::PutCidr(net, identity),
        None => Op::DeleteCidr(net),
    })
}

impl EndpointWrite {
    fn op(&self) -> Option<Op> {
        match (&self.before, &self.after) {
            (_, Some(entry)) => Some(Op::PutEndpoint(entry.clone())),
            (Some(entry), None) => Some(Op::DeleteEndpoint {
                ifindex: entry.ifindex,
                id: entry.id,
            }),
            (None, None) => None,
        }
    }

    /// The addresses among `taken` that a live, known endpoint gains.
    fn gained<'a>(&'a self, taken: &'a BTreeSet<IpAddr>) -> impl Iterator<Item = IpAddr> + 'a {
        self.gains().filter(|address| taken.contains(address))
    }

    /// The addresses that a live, known endpoint gains.
    fn gains(&self) -> impl Iterator<Item = IpAddr> {
        let before = self.before.as_ref().filter(|entry| !entry.unknown);
        before
            .zip(self.after.as_ref())
            .into_iter()
            .flat_map(|(before, after)| {
                after
                    .addresses
                    .iter()
                    .copied()
                    .filter(|address| !before.addresses.contains(address))
            })
    }

    /// A swap that only adds the gained addresses, if the entry has room for one.
    fn gain(&mut self, taken: &BTreeSet<IpAddr>) -> Option<Op> {
        let gained: Vec<IpAddr> = self.gained(taken).collect();
        let before = self.before.as_mut()?;
        let has_room = |address: &IpAddr| {
            !before
                .addresses
                .iter()
                .any(|own| own.is_ipv4() == address.is_ipv4())
        };
        let fitting: Vec<IpAddr> = gained.into_iter().filter(has_room).collect();
        if fitting.is_empty() {
            return None;
        }
        before.addresses.extend(fitting);
        before.addresses.sort_unstable();
        before.new_epoch = false;
        Some(Op::PutEndpoint(before.clone()))
    }
}
