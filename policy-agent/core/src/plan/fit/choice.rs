//! What the tables are to hold.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use policy_common::{Direction, IdentityId, PortSetId, RulesetId};

use super::{
    DENY, Haste, Room, Short, Table,
    draft::{Draft, Full, Question},
    loss, of,
    selection::Selection,
    set,
};
use crate::plan::{AddressValue, contents::Contents};

/// What the tables are to hold.
pub(super) struct Choice {
    /// In the end.
    pub(super) target: Contents,
    /// Rules on the way: for the new identities also those of rulesets that go at the end.
    pub(super) rules: HashMap<(RulesetId, IdentityId), PortSetId>,
    pub(super) short: Vec<Short>,
    pub(super) held: BTreeSet<RulesetId>,
    /// Rulesets that endpoints must let go of before there is room for others.
    pub(super) early: BTreeSet<RulesetId>,
}

impl Choice {
    pub(super) fn new(have: &Contents, want: &Contents, room: &Room, haste: Haste) -> Self {
        let question = Question::new(have, want, room);
        let selection = Selection::of(&question, haste);
        let written = selection.draft(&question);
        let mut choice = Self {
            target: Contents::default(),
            rules: HashMap::new(),
            short: Vec::new(),
            held: BTreeSet::new(),
            early: selection.early,
        };
        choice.endpoints(&question, &selection.staying, &selection.refused);
        choice.addresses(&question, &written);
        choice.tables(&question, written);
        choice
    }

    /// The endpoints with the rules that they get.
    fn endpoints(
        &mut self,
        question: &Question<'_>,
        staying: &BTreeSet<RulesetId>,
        refused: &BTreeMap<RulesetId, Full>,
    ) {
        for (ifindex, wanted) in &question.want.endpoints {
            // Another pod's rules are nothing to keep.
            let before = question.have.endpoints.get(ifindex).filter(|before| {
                before.id == wanted.id && before.pod_tag == wanted.pod_tag && !before.unknown
            });
            let mut entry = wanted.clone();
            for direction in [Direction::Ingress, Direction::Egress] {
                let Some(rules) = of(wanted, direction) else {
                    continue;
                };
                let Some(full) = refused.get(&rules.ruleset) else {
                    continue;
                };
                // What was taken away does not wait for room.
                let is_less = |old| loss::loses((question.have, old), (question.want, rules));
                let kept = before
                    .and_then(|before| of(before, direction))
                    .filter(|old| staying.contains(&old.ruleset) && !is_less(*old));
                self.held.extend(kept.map(|old| old.ruleset));
                self.short.push(Short::Rules {
                    ifindex: *ifindex,
                    direction,
                    table: full.table,
                    needed: full.needed,
                    kept: kept.is_some(),
                });
                set(&mut entry, direction, kept.unwrap_or(DENY));
            }
            self.target.endpoints.insert(*ifindex, entry);
        }
    }

    /// The addresses that have room, as what the rules make of them.
    fn addresses(&mut self, question: &Question<'_>, written: &Draft) {
        let mut nobodies: BTreeMap<Table, Vec<IpAddr>> = BTreeMap::new();
        for (address, value) in &question.addresses {
            match written.number(value.identity) {
                Ok(identity) => {
                    let value = AddressValue { identity, ..*value };
                    self.target.addresses.insert(*address, value);
                }
                Err(table) => nobodies.entry(table).or_default().push(*address),
            }
        }
        let [v4, v6] = &question.homeless;
        nobodies.insert(Table::AddressesV4, v4.clone());
        nobodies.insert(Table::AddressesV6, v6.clone());
        for (table, addresses) in nobodies {
            if let Some(first) = addresses.first() {
                self.short.push(Short::Addresses {
                    table,
                    first: *first,
                    count: addresses.len(),
                });
            }
        }
    }

    /// What the chosen rulesets need.
    fn tables(&mut self, question: &Question<'_>, written: Draft) {
        for id in &written.port_sets {
            let entries = question.want.port_sets.get(id);
            let entries = entries.or_else(|| question.have.port_sets.get(id));
            if let Some(entries) = entries {
                self.target.port_sets.insert(*id, entries.clone());
            }
        }
        self.target.cidrs = written.cidrs;
        self.rules = written.rules;
    }
}
