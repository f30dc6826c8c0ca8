//! The order of operations from what the tables hold to what was chosen.
//!
//! First goes what nothing leads to: it makes room. Then endpoints let go of rules that leave no
//! room for others. Then the way of every commit, and at the end what that left behind.

use std::collections::{BTreeSet, HashMap};

use policy_common::{Direction, IdentityId, PortSetId, RulesetId};

use super::{DENY, of, rows::Rows, rulesets, set};
use crate::plan::{
    contents::Contents,
    delta::{AddressWrite, Delta, EndpointWrite},
    op::{EndpointEntry, Op},
};

/// Operations, and the tables after them.
#[derive(Clone)]
pub(super) struct Route {
    now: Contents,
    ops: Vec<Op>,
    /// An address or a prefix changed: flows are to be judged again.
    is_moving: bool,
}

impl Route {
    pub(super) fn new(now: Contents) -> Self {
        Self {
            now,
            ops: Vec::new(),
            is_moving: false,
        }
    }

    pub(super) fn now(&self) -> &Contents {
        &self.now
    }

    pub(super) fn into_ops(self) -> Vec<Op> {
        self.ops
    }

    fn extend(&mut self, ops: impl IntoIterator<Item = Op>) {
        for op in ops {
            self.now.execute(&op);
            self.ops.push(op);
        }
    }

    fn extend_after_grace(&mut self, ops: Vec<Op>) {
        if !ops.is_empty() {
            self.extend([Op::Grace]);
            self.extend(ops);
        }
    }

    /// Removes endpoints and addresses that are gone from `want`, and what nothing leads to and
    /// is not to be kept.
    pub(super) fn remove(&mut self, want: &Contents, keep: &Contents) {
        let endpoints = self.now.endpoints.values();
        let endpoints = endpoints.filter(|entry| !want.endpoints.contains_key(&entry.ifindex));
        let endpoints: Vec<_> = endpoints
            .map(|entry| Op::DeleteEndpoint {
                ifindex: entry.ifindex,
                id: entry.id,
            })
            .collect();
        self.extend(endpoints);
        let addresses = self.now.addresses.keys();
        let addresses = addresses.filter(|address| !want.addresses.contains_key(address));
        let addresses: Vec<_> = addresses.copied().map(Op::DeleteAddress).collect();
        self.is_moving |= !addresses.is_empty();
        self.extend(addresses);
        self.remove_cidrs(keep);
        self.remove_rules(keep);
        self.remove_port_sets(keep);
    }

    fn remove_cidrs(&mut self, keep: &Contents) {
        let used = rulesets(&self.now);
        let rows = Rows::new(&self.now);
        let telling: BTreeSet<_> = rows.telling(&self.now, &used).map(|one| one.0).collect();
        let cidrs = self.now.cidrs.keys();
        let cidrs = cidrs.filter(|net| !telling.contains(net) && !keep.cidrs.contains_key(net));
        self.extend_after_grace(cidrs.copied().map(Op::DeleteCidr).collect());
    }

    fn remove_rules(&mut self, keep: &Contents) {
        let used = rulesets(&self.now);
        let addresses = self.now.addresses.values().map(|value| value.identity);
        let live: BTreeSet<_> = self.now.cidrs.values().copied().chain(addresses).collect();
        let is_reached = |&(ruleset, identity): &(RulesetId, IdentityId)| {
            let is_live = identity < IdentityId::FIRST || live.contains(&identity);
            used.contains(&ruleset) && is_live
        };
        let rules = self.now.rules.keys();
        let rules = rules.filter(|key| !is_reached(key) && !keep.rules.contains_key(key));
        let mut rules: Vec<_> = rules.copied().collect();
        rules.sort_unstable();
        let rules = rules.into_iter().map(|(one, two)| Op::DeleteRule(one, two));
        self.extend_after_grace(rules.collect());
    }

    fn remove_port_sets(&mut self, keep: &Contents) {
        let entries = self.now.endpoints.values();
        let directions = entries.flat_map(|entry| [entry.ingress, entry.egress]);
        let defaults = directions.flatten().map(|rules| rules.default_ports);
        let named: BTreeSet<_> = self.now.rules.values().copied().chain(defaults).collect();
        let sets = self.now.port_sets.iter();
        let sets = sets.filter(|(id, _)| !named.contains(id) && !keep.port_sets.contains_key(id));
        let sets = sets.map(|(id, entries)| Op::DeletePortSet(*id, entries.clone()));
        self.extend_after_grace(sets.collect());
    }

    /// Has endpoints deny everything in directions whose rules must go before there is room.
    pub(super) fn let_go(&mut self, early: &BTreeSet<RulesetId>) {
        let mut entries = Vec::new();
        for entry in self.now.endpoints.values() {
            let mut denied = entry.clone();
            for direction in [Direction::Ingress, Direction::Egress] {
                if of(entry, direction).is_some_and(|old| early.contains(&old.ruleset)) {
                    set(&mut denied, direction, DENY);
                }
            }
            if denied != *entry {
                denied.new_epoch = true;
                entries.push(Op::PutEndpoint(denied));
            }
        }
        self.extend(entries);
    }

    /// The way of a commit: port sets, rules, prefixes and addresses, endpoints.
    pub(super) fn commit(
        &mut self,
        target: &Contents,
        rules: &HashMap<(RulesetId, IdentityId), PortSetId>,
    ) {
        let now = &self.now;
        let mut delta = Delta::default();
        let sets = target.port_sets.iter();
        let sets = sets.filter(|(id, _)| !now.port_sets.contains_key(id));
        delta.port_sets = sets.map(|(id, set)| (*id, set.clone())).collect();
        let rules = rules
            .iter()
            .filter(|(key, ports)| now.rules.get(key) != Some(*ports));
        delta.rules = rules.map(|(key, ports)| (key.0, key.1, *ports)).collect();
        delta.rules.sort_unstable();
        let cidrs = target.cidrs.iter();
        let cidrs = cidrs.filter(|(net, identity)| now.cidrs.get(net) != Some(*identity));
        delta.cidrs = cidrs
            .map(|(net, identity)| (*net, Some(*identity)))
            .collect();
        for (address, value) in &target.addresses {
            let before = now.addresses.get(address).copied();
            if before != Some(*value) {
                delta.addresses.push(AddressWrite {
                    address: *address,
                    before,
                    after: Some(*value),
                });
            }
        }
        let gone = now.addresses.iter();
        let gone = gone.filter(|(address, _)| !target.addresses.contains_key(address));
        delta
            .addresses
            .extend(gone.map(|(address, value)| AddressWrite {
                address: *address,
                before: Some(*value),
                after: None,
            }));
        let is_moving = self.is_moving || !delta.addresses.is_empty() || !delta.cidrs.is_empty();
        for entry in target.endpoints.values() {
            let before = now.endpoints.get(&entry.ifindex);
            if before.is_some_and(|before| is_same(before, entry)) && !is_moving {
                continue;
            }
            delta.endpoints.push(EndpointWrite {
                before: before.cloned(),
                after: Some(EndpointEntry {
                    new_epoch: true,
                    ..entry.clone()
                }),
            });
        }
        self.extend(delta.commit_plan());
        self.is_moving = false;
    }
}

/// Whether two entries differ in nothing but their epochs.
fn is_same(one: &EndpointEntry, other: &EndpointEntry) -> bool {
    let one = EndpointEntry {
        new_epoch: other.new_epoch,
        ..one.clone()
    };
    one == *other
}
