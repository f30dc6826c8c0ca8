//! `commit`: brings the tables up to date with the facts; only ever adds predicates.

use super::{
    activate::activate,
    address::{move_addresses, move_prefixes},
    choose::choose_rulesets,
    endpoint::{endpoints_to_judge_again, swap_endpoints},
    namespace::match_namespaces,
    refine::refine_addresses,
    rule::write_rules,
};
use crate::{
    plan::{Delta, Op},
    resolve::{compile::Active, facts::cluster::Cluster, tables::Tables},
};

/// See [`Resolver::commit`](crate::resolve::Resolver::commit).
pub(crate) fn commit(facts: &mut Cluster, active: &mut Active, tables: &mut Tables) -> Vec<Op> {
    let mut delta = Delta::default();
    facts.list_groups();
    match_namespaces(facts, &active.scopes);
    let choices = choose_rulesets(facts, &mut active.predicates, tables);
    let gains = activate(facts, active);
    let identities = &mut tables.identities;
    move_prefixes(&mut facts.addresses, active, identities, &mut delta);
    refine_addresses(facts, active, identities, gains, &mut delta);
    move_addresses(facts, active, identities, &mut delta);
    let fresh = write_rules(&active.predicates, tables, &mut delta);
    let mut touched = endpoints_to_judge_again(active, tables, &delta.addresses, &fresh);
    if std::mem::take(&mut facts.dirty.services) {
        touched.extend(tables.rulesets.isolated_in_egress());
    }
    swap_endpoints(facts, tables, choices, &touched, &mut delta);
    delta.port_sets = tables.port_sets.take_fresh();
    delta.commit_plan()
}
