//! `collect`: takes back what nothing uses any more; only ever removes predicates.

use std::{collections::BTreeSet, sync::Arc};

use policy_common::{IdentityId, RulesetId};
use rustc_hash::FxHashSet;

use crate::{
    plan::{Delta, Op},
    resolve::{
        Resolver,
        compile::predicate::{Predicate, PredicateId},
        tables::ruleset::{Parts, reserved_rules},
    },
};

impl Resolver {
    /// How many rulesets, identities and port sets wait for [`Resolver::collect`].
    pub fn uncollected(&self) -> usize {
        self.rulesets.unused() + self.identities.unused() + self.port_sets.unused()
    }

    /// Takes back the rulesets, predicates, identities and port sets that no endpoint uses. The
    /// operations wait for running programs themselves; numbers may be used again once they are
    /// executed. Does nothing while applied changes wait for a commit.
    pub fn collect(&mut self) -> Vec<Op> {
        self.collect_but(&BTreeSet::new())
    }

    /// The same, but rulesets are held that endpoints keep in tables without room for others: they
    /// go on getting rules for every identity.
    pub fn collect_but(&mut self, held: &BTreeSet<RulesetId>) -> Vec<Op> {
        if self.uncollected() == 0 || !self.cluster.is_clean() {
            return Vec::new();
        }
        let mut delta = Delta::default();
        let orphans = self.remove_rulesets(held, &mut delta);
        let coarser = self.deactivate(&orphans);
        self.coarsen_addresses(coarser, &orphans, &mut delta);
        self.move_prefixes(&mut delta);
        self.move_addresses(&mut delta);
        self.write_rules(&mut delta);
        self.remove_identities(&mut delta);
        for orphan in orphans {
            self.predicates.remove(orphan);
        }
        delta.port_sets = self.port_sets.take_fresh();
        delta.dead_port_sets = self.port_sets.remove_unused();
        delta.collect_plan()
    }

    /// Returns the predicates that only the removed rulesets asked for.
    fn remove_rulesets(
        &mut self,
        held: &BTreeSet<RulesetId>,
        delta: &mut Delta,
    ) -> FxHashSet<PredicateId> {
        let parts = Parts {
            predicates: &mut self.predicates,
            identities: &self.identities,
            port_sets: &mut self.port_sets,
        };
        let (removed, orphans) = self.rulesets.remove_unused(held, parts);
        for (ruleset, listed) in removed {
            let reserved =
                reserved_rules(ruleset).map(|(ruleset, identity, _)| (ruleset, identity));
            delta.dead_rules.extend(reserved);
            let listed = listed.into_iter().map(|identity| (ruleset, identity));
            delta.dead_rules.extend(listed);
        }
        orphans.into_iter().collect()
    }

    /// From here on the predicates hold for nobody. Returns the identities that had them.
    fn deactivate(&mut self, orphans: &FxHashSet<PredicateId>) -> FxHashSet<IdentityId> {
        let mut coarser: FxHashSet<IdentityId> = FxHashSet::default();
        for &id in orphans {
            coarser.extend(self.predicates.identities(id));
            match self.predicates.get(id).map(Arc::as_ref) {
                Some(Predicate::Term(term)) => {
                    if let Some(gone) = self.scopes.remove(id, term) {
                        for namespace in self.cluster.namespaces.values_mut() {
                            namespace.scopes.retain(|&scope| scope != gone);
                        }
                    }
                }
                Some(Predicate::Block(block)) => self.blocks.remove(id, block),
                Some(Predicate::Name(..) | Predicate::Number(..)) | None => {}
            }
        }
        coarser
    }

    fn remove_identities(&mut self, delta: &mut Delta) {
        for identity in self.identities.take_unused() {
            let parts = Parts {
                predicates: &mut self.predicates,
                identities: &self.identities,
                port_sets: &mut self.port_sets,
            };
            let rulesets = self.rulesets.remove_identity(identity, parts);
            let rules = rulesets.into_iter().map(|ruleset| (ruleset, identity));
            delta.dead_rules.extend(rules);
            self.identities.remove(identity, &mut self.predicates);
        }
    }
}
