//! Rulesets: the final verdicts of one direction for everybody whose policies say the same.
//!
//! Owns their numbers and their rules. Invariants: content never changes under a number, except
//! for rules for new identities; every ruleset – also one that no endpoint uses any more – has
//! rules for every identity, until `collect`.

use std::{collections::BTreeSet, sync::Arc};

use policy_common::{Direction, IdentityId, PortSetId, RulesetId};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{identity::Identities, numbers::Numbers, port_set::PortSets};
use crate::resolve::compile::{
    content::Content,
    predicate::{PredicateId, Predicates},
};

#[derive(Debug)]
struct Ruleset {
    content: Arc<Content>,
    default_ports: PortSetId,
    has_blocks: bool,
    /// Where the ports differ from the default.
    rules: FxHashMap<IdentityId, PortSetId>,
    /// Interfaces of the endpoints.
    users: BTreeSet<u32>,
}

/// The other tables that rules are made of.
pub(crate) struct Parts<'a> {
    pub(crate) predicates: &'a mut Predicates,
    pub(crate) identities: &'a Identities,
    pub(crate) port_sets: &'a mut PortSets,
}

/// One rule of RULES.
pub(crate) type RuleWrite = (RulesetId, IdentityId, PortSetId);

/// All rulesets.
#[derive(Debug)]
pub(crate) struct Rulesets {
    ids: FxHashMap<Arc<Content>, RulesetId>,
    rulesets: FxHashMap<RulesetId, Ruleset>,
    numbers: Numbers,
    fresh: Vec<RulesetId>,
    /// Without users, until the next collection.
    idle: BTreeSet<RulesetId>,
}

impl Rulesets {
    pub(crate) fn new() -> Self {
        Self {
            ids: FxHashMap::default(),
            rulesets: FxHashMap::default(),
            numbers: Numbers::from(RulesetId::FIRST.0),
            fresh: Vec::new(),
            idle: BTreeSet::new(),
        }
    }

    /// The ruleset of a content, used by one interface more. A new one gets its rules from
    /// [`Rulesets::write_rules`].
    pub(crate) fn acquire(&mut self, content: Content, user: u32, parts: Parts<'_>) -> RulesetId {
        let id = match self.ids.get(&content) {
            Some(&id) => id,
            None => self.insert(content, parts),
        };
        if let Some(ruleset) = self.rulesets.get_mut(&id) {
            ruleset.users.insert(user);
            self.idle.remove(&id);
        }
        id
    }

    fn insert(&mut self, content: Content, parts: Parts<'_>) -> RulesetId {
        let id = RulesetId(self.numbers.take());
        let content = Arc::new(content);
        for predicate in content.asks_for() {
            parts.predicates.add_ruleset(predicate, id);
        }
        let default_ports = parts
            .port_sets
            .acquire(content.ports(&[], parts.predicates));
        let has_blocks = content
            .items
            .iter()
            .filter_map(|item| item.peer)
            .any(|peer| parts.predicates.is_block(peer));
        self.ids.insert(content.clone(), id);
        self.rulesets.insert(
            id,
            Ruleset {
                content,
                default_ports,
                has_blocks,
                rules: FxHashMap::default(),
                users: BTreeSet::new(),
            },
        );
        self.fresh.push(id);
        id
    }

    /// The interface uses it no longer.
    pub(crate) fn release(&mut self, id: RulesetId, user: u32) {
        if let Some(ruleset) = self.rulesets.get_mut(&id) {
            ruleset.users.remove(&user);
            if ruleset.users.is_empty() {
                self.idle.insert(id);
            }
        }
    }

    /// The default port set, and whether there are blocks.
    pub(crate) fn defaults(&self, id: RulesetId) -> (PortSetId, bool) {
        self.rulesets
            .get(&id)
            .map_or((PortSetId::DENY_ALL, false), |ruleset| {
                (ruleset.default_ports, ruleset.has_blocks)
            })
    }

    /// The interfaces whose endpoints use it.
    pub(crate) fn users(&self, id: RulesetId) -> impl Iterator<Item = u32> {
        self.rulesets
            .get(&id)
            .into_iter()
            .flat_map(|ruleset| ruleset.users.iter().copied())
    }

    /// Whether an endpoint uses it in this direction, and what it says of an identity.
    pub(crate) fn ports(&self, id: RulesetId, identity: IdentityId) -> PortSetId {
        self.rulesets
            .get(&id)
            .map_or(PortSetId::DENY_ALL, |ruleset| {
                let listed = ruleset.rules.get(&identity);
                listed.copied().unwrap_or(ruleset.default_ports)
            })
    }

    /// The egress rulesets in use.
    pub(crate) fn used_for_egress(&self) -> impl Iterator<Item = RulesetId> {
        self.rulesets
            .iter()
            .filter(|(_, ruleset)| {
                ruleset.content.direction == Direction::Egress && !ruleset.users.is_empty()
            })
            .map(|(&id, _)| id)
    }

    /// Rules of new rulesets for all identities, and of all rulesets for new identities.
    pub(crate) fn write_rules(
        &mut self,
        fresh_identities: &[IdentityId],
        parts: Parts<'_>,
    ) -> (Vec<RulesetId>, Vec<RuleWrite>) {
        let fresh = std::mem::take(&mut self.fresh);
        let mut pairs: FxHashSet<(RulesetId, IdentityId)> = FxHashSet::default();
        for &id in &fresh {
            let Some(ruleset) = self.rulesets.get(&id) else {
                continue;
            };
            for predicate in ruleset.content.asks_for() {
                pairs.extend(
                    parts
                        .predicates
                        .identities(predicate)
                        .map(|identity| (id, identity)),
                );
            }
        }
        for &identity in fresh_identities {
            for &predicate in parts.identities.set(identity).iter() {
                pairs.extend(
                    parts
                        .predicates
                        .rulesets(predicate)
                        .map(|id| (id, identity)),
                );
            }
        }
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_unstable();
        let writes = pairs
            .into_iter()
            .filter_map(|(id, identity)| {
                let ruleset = self.rulesets.get_mut(&id)?;
                let set = parts.identities.set(identity);
                let ports = ruleset.content.ports(&set, parts.predicates);
                let ports = parts.port_sets.acquire(ports);
                if ports == ruleset.default_ports {
                    parts.port_sets.release(ports);
                    return None;
                }
                ruleset.rules.insert(identity, ports);
                Some((id, identity, ports))
            })
            .collect();
        (fresh, writes)
    }

    /// How many rulesets [`Rulesets::remove_unused`] would remove.
    pub(crate) fn unused(&self) -> usize {
        self.idle.len()
    }

    /// Forgets the rulesets that no endpoint uses and that are not held. Returns each with the identities of its rules,
    /// and the predicates for which no ruleset asks any more. The numbers are free only after
    /// operations so that nothing uses the freed numbers before the rules are deleted.
    pub(crate) fn remove_unused(
        &mut self,
        held: &BTreeSet<RulesetId>,
        parts: Parts<'_>,
    ) -> (Vec<(RulesetId, Vec<IdentityId>)>, Vec<PredicateId>) {
        let (mut removed, mut orphans) = (Vec::new(), Vec::new());
        for id in std::mem::take(&mut self.idle) {
            if held.contains(&id) {
                self.idle.insert(id);
                continue;
            }
            let Some(ruleset) = self.rulesets.remove(&id) else {
                continue;
            };
            self.ids.remove(&ruleset.content);
            parts.port_sets.release(ruleset.default_ports);
            let mut listed = Vec::with_capacity(ruleset.rules.len());
            for (identity, ports) in ruleset.rules {
                parts.port_sets.release(ports);
                listed.push(identity);
            }
            listed.sort_unstable();
            for predicate in ruleset.content.asks_for() {
                if parts.predicates.remove_ruleset(predicate, id) {
                    orphans.push(predicate);
                }
            }
            self.numbers.give_back(id.0);
            removed.push((id, listed));
        }
        orphans.sort_unstable();
        (removed, orphans)
    }

    /// Removes the rules for an identity.
    pub(crate) fn remove_identity(
        &mut self,
        identity: IdentityId,
        parts: Parts<'_>,
    ) -> Vec<RulesetId> {
        let set = parts.identities.set(identity);
        let mut touched: Vec<RulesetId> = set
            .iter()
            .flat_map(|&predicate| parts.predicates.rulesets(predicate))
            .collect();
        touched.sort_unstable();
        touched.dedup();
        touched.retain(|id| {
            let rules = self.rulesets.get_mut(id).map(|ruleset| &mut ruleset.rules);
            let ports = rules.and_then(|rules| rules.remove(&identity));
            ports
                .inspect(|&ports| parts.port_sets.release(ports))
                .is_some()
        });
        touched
    }

    /// Every rule, in order.
    pub(crate) fn all(&self) -> (Vec<RulesetId>, Vec<RuleWrite>) {
        let mut ids: Vec<_> = self.rulesets.keys().copied().collect();
        ids.sort_unstable();
        let mut rules: Vec<_> = self
            .rulesets
            .iter()
            .flat_map(|(&id, ruleset)| {
                ruleset
                    .rules
                    .iter()
                    .map(move |(&identity, &ports)| (id, identity, ports))
            })
            .collect();
        rules.sort_unstable();
        (ids, rules)
    }
}

/// The rules of every ruleset: the host and the endpoint itself are always allowed.
pub(crate) fn reserved_rules(ruleset: RulesetId) -> [RuleWrite; 2] {
    [IdentityId::HOST, IdentityId::SELF].map(|identity| (ruleset, identity, PortSetId::ALLOW_ALL))
}
