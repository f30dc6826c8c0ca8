//! RULES: what every ruleset says of every identity.
//!
//! Invariant: every ruleset has a rule for every identity of which it does not say the default.

use policy_common::RulesetId;
use rustc_hash::FxHashSet;

use crate::{
    plan::Delta,
    resolve::{
        compile::predicate::Predicates,
        tables::{Tables, ruleset::reserved_rules},
    },
};

/// Writes the rules that new rulesets and new identities need; returns the new rulesets.
pub(crate) fn write_rules(
    predicates: &Predicates,
    tables: &mut Tables,
    delta: &mut Delta,
) -> FxHashSet<RulesetId> {
    let Tables {
        identities,
        rulesets,
        port_sets,
        ..
    } = tables;
    let fresh = identities.take_fresh();
    let (fresh, rules) = rulesets.write_rules(&fresh, predicates, identities, port_sets);
    for &ruleset in &fresh {
        delta.rules.extend(reserved_rules(ruleset));
    }
    delta.rules.extend(rules);
    fresh.into_iter().collect()
}
