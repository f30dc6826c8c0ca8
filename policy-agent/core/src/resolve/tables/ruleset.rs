//! Rulesets: the final verdicts of one direction for everybody whose policies say the same.
//!
//! Owns their rules. Invariants: content never changes under a number, except for rules for new
//! identities; every ruleset – also one that no endpoint uses any more – has rules for every
//! identity, until `collect`.

use std::{collections::BTreeSet, sync::Arc};

use policy_common::{Direction, IdentityId, PortSetId, RulesetId};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{identity::Identities, interner::Interner, port_set::PortSets};
use crate::resolve::compile::{
    content::Content,
    predicate::{PredicateId, Predicates},
};

/// What a ruleset says of identities.
#[derive(Debug)]
struct Verdicts {
    default_ports: PortSetId,
    has_blocks: bool,
    /// Where the ports differ from the default.
    rules: FxHashMap<IdentityId, PortSetId>,
    /// Interfaces of the endpoints.
    users: BTreeSet<u32>,
}

/// Identities that every ruleset allows.
pub(crate) const RESERVED: [IdentityId; 3] =
    [IdentityId::HOST, IdentityId::SELF, IdentityId::SERVICE];

/// One rule of RULES.
pub(crate) type RuleWrite = (RulesetId, IdentityId, PortSetId);

/// All rulesets. Uses are endpoints.
#[derive(Debug)]
pub(crate) struct Rulesets(Interner<Content, RulesetId, Verdicts>);

impl Rulesets {
    pub(crate) fn new() -> Self {
        Self(Interner::new())
    }

    /// The ruleset of a content, used by one interface more. A new one gets its rules from
    /// [`Rulesets::write_rules`].
    pub(crate) fn acquire(
        &mut self,
        content: Content,
        user: u32,
        predicates: &mut Predicates,
        port_sets: &mut PortSets,
    ) -> RulesetId {
        let id = match self.0.find(&content) {
            Some(id) => id,
            None => self.insert(content, predicates, port_sets),
        };
        if let Some(row) = self.0.row_mut(id)
            && row.value.users.insert(user)
        {
            self.0.hold(id, 1);
        }
        id
    }

    fn insert(
        &mut self,
        content: Content,
        predicates: &mut Predicates,
        port_sets: &mut PortSets,
    ) -> RulesetId {
        let content = Arc::new(content);
        let mut peers = content.items.iter().filter_map(|item| item.peer);
        let verdicts = Verdicts {
            default_ports: port_sets.acquire(content.ports(&[], predicates)),
            has_blocks: peers.any(|peer| predicates.is_block(peer)),
            rules: FxHashMap::default(),
            users: BTreeSet::new(),
        };
        let id = self.0.insert(content.clone(), verdicts);
        for predicate in content.asks_for() {
            predicates.add_ruleset(predicate, id);
        }
        id
    }

    /// The interface uses it no longer.
    pub(crate) fn release(&mut self, id: RulesetId, user: u32) {
        if let Some(row) = self.0.row_mut(id)
            && row.value.users.remove(&user)
        {
            self.0.release(id, 1);
        }
    }

    fn verdicts(&self, id: RulesetId) -> Option<&Verdicts> {
        Some(&self.0.row(id)?.value)
    }

    /// The default port set, and whether there are blocks.
    pub(crate) fn defaults(&self, id: RulesetId) -> (PortSetId, bool) {
        self.verdicts(id)
            .map_or((PortSetId::DENY_ALL, false), |verdicts| {
                (verdicts.default_ports, verdicts.has_blocks)
            })
    }

    /// The interfaces whose endpoints use it.
    pub(crate) fn users(&self, id: RulesetId) -> impl Iterator<Item = u32> {
        let verdicts = self.verdicts(id).into_iter();
        verdicts.flat_map(|verdicts| verdicts.users.iter().copied())
    }

    /// What it says of an identity.
    pub(crate) fn ports(&self, id: RulesetId, identity: IdentityId) -> PortSetId {
        self.verdicts(id).map_or(PortSetId::DENY_ALL, |verdicts| {
            let listed = verdicts.rules.get(&identity);
            listed.copied().unwrap_or(verdicts.default_ports)
        })
    }

    /// The interfaces whose endpoints use a ruleset of egress.
    pub(crate) fn isolated_in_egress(&self) -> impl Iterator<Item = u32> {
        self.used_for_egress()
            .flat_map(|ruleset| self.users(ruleset))
    }

    /// The egress rulesets in use.
    pub(crate) fn used_for_egress(&self) -> impl Iterator<Item = RulesetId> {
        self.0
            .iter()
            .filter(|(_, row)| {
                row.key.direction == Direction::Egress && !row.value.users.is_empty()
            })
            .map(|(id, _)| id)
    }

    /// Rules of new rulesets for all identities, and of all rulesets for new identities. Returns
    /// the new rulesets, and the rules.
    pub(crate) fn write_rules(
        &mut self,
        fresh_identities: &[IdentityId],
        predicates: &Predicates,
        identities: &Identities,
        port_sets: &mut PortSets,
    ) -> (Vec<RulesetId>, Vec<RuleWrite>) {
        let fresh = self.0.take_fresh();
        let mut pairs: FxHashSet<(RulesetId, IdentityId)> = FxHashSet::default();
        for &id in &fresh {
            let Some(row) = self.0.row(id) else { continue };
            for predicate in row.key.asks_for() {
                let having = predicates.identities(predicate);
                pairs.extend(having.map(|identity| (id, identity)));
            }
        }
        for &identity in fresh_identities {
            for &predicate in identities.predicates(identity) {
                let asking = predicates.rulesets(predicate);
                pairs.extend(asking.map(|id| (id, identity)));
            }
        }
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_unstable();
        let writes = pairs
            .into_iter()
            .filter_map(|(id, identity)| {
                let row = self.0.row_mut(id)?;
                let set = identities.predicates(identity);
                let ports = port_sets.acquire(row.key.ports(set, predicates));
                if ports == row.value.default_ports {
                    port_sets.release(ports);
                    return None;
                }
                row.value.rules.insert(identity, ports);
                Some((id, identity, ports))
            })
            .collect();
        (fresh, writes)
    }

    /// How many rulesets [`Rulesets::remove_unused`] would remove.
    pub(crate) fn unused(&self) -> usize {
        self.0.count_idle()
    }

    /// Removes the rulesets that no endpoint uses and that are not held. Returns each with the identities of its rules,
    /// and the predicates for which no ruleset asks any more. Numbers are free at once: a plan
    /// deletes the rules before it uses them again.
    pub(crate) fn remove_unused(
        &mut self,
        held: &BTreeSet<RulesetId>,
        predicates: &mut Predicates,
        port_sets: &mut PortSets,
    ) -> (Vec<(RulesetId, Vec<IdentityId>)>, Vec<PredicateId>) {
        let (mut removed, mut orphans) = (Vec::new(), Vec::new());
        for id in self.0.take_idle(held) {
            let Some(row) = self.0.remove(id) else {
                continue;
            };
            port_sets.release(row.value.default_ports);
            let mut listed = Vec::with_capacity(row.value.rules.len());
            for (identity, ports) in row.value.rules {
                port_sets.release(ports);
                listed.push(identity);
            }
            listed.sort_unstable();
            for predicate in row.key.asks_for() {
                if predicates.remove_ruleset(predicate, id) {
                    orphans.push(predicate);
                }
            }
            removed.push((id, listed));
        }
        orphans.sort_unstable();
        (removed, orphans)
    }

    /// Removes the rules for an identity with these predicates; returns the rulesets that had one.
    pub(crate) fn remove_identity(
        &mut self,
        identity: IdentityId,
        set: &[PredicateId],
        predicates: &Predicates,
        port_sets: &mut PortSets,
    ) -> Vec<RulesetId> {
        let mut touched: Vec<RulesetId> = set
            .iter()
            .flat_map(|&predicate| predicates.rulesets(predicate))
            .collect();
        touched.sort_unstable();
        touched.dedup();
        touched.retain(|&id| {
            let row = self.0.row_mut(id);
            let ports = row.and_then(|row| row.value.rules.remove(&identity));
            ports.inspect(|&ports| port_sets.release(ports)).is_some()
        });
        touched
    }

    /// Every ruleset and every rule, in order.
    pub(crate) fn all(&self) -> (Vec<RulesetId>, Vec<RuleWrite>) {
        let ids = self.0.iter().map(|(id, _)| id).collect();
        let rules = self.0.iter().flat_map(|(id, row)| {
            let rules = row.value.rules.iter();
            rules.map(move |(&identity, &ports)| (id, identity, ports))
        });
        let mut rules: Vec<_> = rules.collect();
        rules.sort_unstable();
        (ids, rules)
    }
}

/// The rules of every ruleset: the host and the endpoint itself are always allowed, and who stands behind a
/// Service is judged later.
pub(crate) fn reserved_rules(ruleset: RulesetId) -> [RuleWrite; 3] {
    RESERVED.map(|identity| (ruleset, identity, PortSetId::ALLOW_ALL))
}
