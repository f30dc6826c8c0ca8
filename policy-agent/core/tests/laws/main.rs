//! Laws of the resolver, on random clusters.

mod arithmetic;
mod binding;
mod build;
mod encoding;
mod epochs;
mod explain;
mod handover;
mod incremental;
mod refine;
mod room;
mod said;
mod sandboxes;
mod shortage;
mod waits;

use std::collections::BTreeMap;

use policy_core::{
    laws::{
        Facts, Tables,
        probe::{ask, differences, expected, leaks, probes, verdicts},
        strategies::{change, facts, handovers},
    },
    model::{Change, Peer},
    plan::{EndpointEntry, Op},
    resolve::Resolver,
};
use proptest::{collection::vec, prelude::*};

fn compile(facts: &Facts) -> (Resolver, Tables) {
    let mut resolver = Resolver::new();
    facts.changes().for_each(|change| resolver.apply(change));
    let mut tables = Tables::default();
    tables.execute_all(&resolver.commit());
    (resolver, tables)
}

/// Executes operations one by one; after each, every verdict must be an old or a new one.
fn check_prefixes(tables: &mut Tables, ops: &[Op], new: &[bool]) -> Result<(), TestCaseError> {
    let probes = probes();
    let old = verdicts(tables, &probes);
    for (step, op) in ops.iter().enumerate() {
        tables.execute(op);
        if !op.waits()
            && !op.is_visible()
            && ops.get(step + 1).is_some_and(|next| !next.is_visible())
        {
            continue;
        }
        for (index, now) in verdicts(tables, &probes).into_iter().enumerate() {
            prop_assert!(
                now == old[index] || now == new[index],
                "after step {step} of {ops:#?}: {:?} is {now}, neither old nor new",
                probes[index]
            );
        }
    }
    let end = verdicts(tables, &probes);
    prop_assert_eq!(differences(&probes, &end, new), []);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_oracle_agrees_with_the_compiled_tables(facts in facts()) {
        let (_, tables) = compile(&facts);
        let probes = probes();
        let got = verdicts(&tables, &probes);
        prop_assert_eq!(differences(&probes, &got, &expected(&facts, &probes)), []);
        prop_assert_eq!(tables.problems(), &[] as &[String]);
        prop_assert_eq!(leaks(tables.contents()), [] as [String; 0]);
    }

    #[test]
    fn the_same_input_gives_the_same_operations(facts in facts()) {
        let operations = || {
            let mut resolver = Resolver::new();
            facts.changes().for_each(|change| resolver.apply(change));
            resolver.commit()
        };
        prop_assert_eq!(operations(), operations());
    }

    #[test]
    fn a_second_commit_without_change_is_empty(facts in facts()) {
        let (mut resolver, _) = compile(&facts);
        prop_assert_eq!(resolver.commit(), []);
        facts.changes().for_each(|change| resolver.apply(change));
        prop_assert_eq!(resolver.commit(), []);
        prop_assert_eq!(resolver.collect(), []);
    }
}

/// A program that read its endpoint before the swap and looks everything else up after the whole
/// plan gives an old or a new verdict too. (Except about addresses that became or were the pod's
/// own: packets to these do not leave the pod.)
fn check_late_programs(
    tables: &Tables,
    read_before: BTreeMap<u32, EndpointEntry>,
    old: &[bool],
    new: &[bool],
) -> Result<(), TestCaseError> {
    let late = tables.with_endpoints(&read_before);
    for (index, probe) in probes().iter().enumerate() {
        let now = ask(&late, probe);
        let entries = [&late, tables].map(|tables| tables.contents().endpoints.get(&probe.ifindex));
        let mut own = entries
            .into_iter()
            .flatten()
            .flat_map(|entry| &entry.addresses);
        if own.any(|address| probe.peer == Peer::Address(*address)) {
            continue;
        }
        prop_assert!(
            now == old[index] || now == new[index],
            "{probe:?} of a late program is {now}, neither old nor new"
        );
    }
    Ok(())
}

/// Whether flows of the endpoint are judged again after the operation.
fn judges_again(op: &Op, interface: u32) -> bool {
    match op {
        Op::PutEndpoint(entry) => entry.ifindex == interface && entry.new_epoch,
        Op::DeleteEndpoint { ifindex, .. } => *ifindex == interface,
        _ => false,
    }
}

/// Applies changes one per commit; every prefix of every plan must give old or new verdicts.
pub(crate) fn check_plans(
    mut facts: Facts,
    changes: impl IntoIterator<Item = (Change, bool)>,
) -> Result<(), TestCaseError> {
    let (mut resolver, mut tables) = compile(&facts);
    for (change, collects) in changes {
        facts.apply(&change);
        resolver.apply(change);
        let probes = probes();
        let new = expected(&facts, &probes);
        let old = verdicts(&tables, &probes);
        let ops = resolver.commit();
        let read_before = tables.contents().endpoints.clone();
        check_prefixes(&mut tables, &ops, &new)?;
        check_late_programs(&tables, read_before, &old, &new)?;
        for (probe, _) in differences(&probes, &old, &new) {
            prop_assert!(
                ops.iter().any(|op| judges_again(op, probe.ifindex)),
                "established connections like {probe:?} would keep their verdict"
            );
        }
        if collects {
            check_prefixes(&mut tables, &resolver.collect(), &new)?;
            prop_assert_eq!(leaks(tables.contents()), [] as [String; 0]);
        }
        prop_assert_eq!(tables.problems(), &[] as &[String]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_prefix_of_every_plan_gives_old_or_new_verdicts(
        facts in facts(),
        changes in vec((change(), prop::bool::weighted(0.3)), 1..12),
    ) {
        check_plans(facts, changes)?;
    }

    #[test]
    fn an_address_that_changes_hands_between_endpoints_has_old_or_new_verdicts(
        (facts, changes) in handovers(),
    ) {
        check_plans(facts, changes.into_iter().map(|change| (change, false)))?;
    }
}
