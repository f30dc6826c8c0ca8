//! `collect`: takes back what nothing uses any more; only ever removes predicates.

use std::{collections::BTreeSet, sync::Arc};

use policy_common::{IdentityId, RulesetId};
use rustc_hash::FxHashSet;

use super::{
    address::{move_addresses, move_prefixes},
    refine::coarsen_addresses,
    rule::write_rules,
};
use crate::{
    plan::{Delta, Op},
    resolve::{
        compile::{
            Active,
            predicate::{Predicate, PredicateId, Predicates},
        },
        facts::cluster::Cluster,
        tables::{Tables, ruleset::reserved_rules},
    },
};

/// See [`Resolver::collect_but`](crate::resolve::Resolver::collect_but).
pub(crate) fn collect_but(
    held: &BTreeSet<RulesetId>,
    facts: &mut Cluster,
    active: &mut Active,
    tables: &mut Tables,
) -> Vec<Op> {
    if tables.unused() == 0 || !facts.is_clean() {
        return Vec::new();
    }
    let mut delta = Delta::default();
    let orphans = remove_rulesets(held, &mut active.predicates, tables, &mut delta);
    let coarser = deactivate(facts, active, &orphans);
    let identities = &mut tables.identities;
    coarsen_addresses(
        &mut facts.addresses,
        &mut active.predicates,
        identities,
        (coarser, &orphans),
        &mut delta,
    );
    move_prefixes(&mut facts.addresses, active, identities, &mut delta);
    move_addresses(facts, active, identities, &mut delta);
    write_rules(&active.predicates, tables, &mut delta);
    remove_identities(&mut active.predicates, tables, &mut delta);
    for orphan in orphans {
        active.predicates.remove(orphan);
    }
    delta.port_sets = tables.port_sets.take_fresh();
    delta.dead_port_sets = tables.port_sets.remove_unused();
    delta.collect_plan()
}

/// Returns the predicates that only the removed rulesets asked for.
fn remove_rulesets(
    held: &BTreeSet<RulesetId>,
    predicates: &mut Predicates,
    tables: &mut Tables,
    delta: &mut Delta,
) -> FxHashSet<PredicateId> {
    let rulesets = &mut tables.rulesets;
    let (removed, orphans) = rulesets.remove_unused(held, predicates, &mut tables.port_sets);
    for (ruleset, listed) in removed {
        let reserved = reserved_rules(ruleset).map(|(ruleset, identity, _)| (ruleset, identity));
        delta.dead_rules.extend(reserved);
        let listed = listed.into_iter().map(|identity| (ruleset, identity));
        delta.dead_rules.extend(listed);
    }
    orphans.into_iter().collect()
}

/// From here on the predicates hold for nobody. Returns the identities that had them.
fn deactivate(
    facts: &mut Cluster,
    active: &mut Active,
    orphans: &FxHashSet<PredicateId>,
) -> FxHashSet<IdentityId> {
    let mut coarser: FxHashSet<IdentityId> = FxHashSet::default();
    for &id in orphans {
        coarser.extend(active.predicates.identities(id));
        match active.predicates.get(id).map(Arc::as_ref) {
            Some(Predicate::Term(term)) => {
                if let Some(gone) = active.scopes.remove(id, term) {
                    for namespace in facts.namespaces.values_mut() {
                        namespace.scopes.retain(|&scope| scope != gone);
                    }
                }
            }
            Some(Predicate::Block(block)) => active.blocks.remove(id, block),
            Some(Predicate::Name(..) | Predicate::Number(..)) | None => {}
        }
    }
    coarser
}

fn remove_identities(predicates: &mut Predicates, tables: &mut Tables, delta: &mut Delta) {
    let Tables {
        identities,
        rulesets,
        port_sets,
        ..
    } = tables;
    for identity in identities.take_unused() {
        let set = identities.predicates(identity);
        let rulesets = rulesets.remove_identity(identity, set, predicates, port_sets);
        let rules = rulesets.into_iter().map(|ruleset| (ruleset, identity));
        delta.dead_rules.extend(rules);
        identities.remove(identity, predicates);
    }
}
