//! Which rulesets get room, and what the tables are to hold.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use policy_common::{Direction, IdentityId, PortSetId, RulesetId};

use super::{
    DENY, Haste, Room, Short, Table,
    draft::{Draft, Full, Question},
    loss, of, rulesets, set,
};
use crate::plan::{AddressValue, contents::Contents};

/// Rulesets beyond the smallest that fit together which are tried one by one.
const TRIES: usize = 32;

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
        let mut staying = rulesets(have);
        let wanted = rulesets(want);
        let mut early = BTreeSet::new();
        // What is in force comes first; it grows only with new addresses, which can be nobody's.
        let mut chosen = staying.clone();
        let mut new: Vec<_> = wanted.difference(&chosen).copied().collect();
        let size = sizes(want);
        new.sort_by_key(|id| (size.get(id).copied().unwrap_or(0), *id));
        let nobodies = question.draft(&chosen, &staying).nobodies();
        let refusal = |chosen: &BTreeSet<RulesetId>, staying: &BTreeSet<RulesetId>| {
            let draft = question.draft(chosen, staying);
            let lost = draft.lost().filter(|_| draft.nobodies() > nobodies);
            draft.full.or(lost)
        };
        // Small ones first, so that as many pods as possible have their rules.
        let with = |count: usize, chosen: &BTreeSet<RulesetId>| -> BTreeSet<RulesetId> {
            chosen
                .iter()
                .chain(new.iter().take(count))
                .copied()
                .collect()
        };
        let (mut fits, mut fails) = (0, new.len() + 1);
        while fits + 1 < fails {
            let middle = usize::midpoint(fits, fails);
            if refusal(&with(middle, &chosen), &staying).is_none() {
                fits = middle;
            } else {
                fails = middle;
            }
        }
        chosen = with(fits, &chosen);
        let mut refused: BTreeMap<RulesetId, Full> = BTreeMap::new();
        let mut last = None;
        for (tried, &id) in new.iter().skip(fits).enumerate() {
            if let Some(full) = last.filter(|_| tried >= TRIES) {
                refused.insert(id, full);
                continue;
            }
            chosen.insert(id);
            let Some(full) = refusal(&chosen, &staying) else {
                continue;
            };
            // The old rules of those who want it may make the room, if nobody else has them.
            let freed = freed(have, want, &chosen, &wanted);
            let fewer = |all: &BTreeSet<RulesetId>| all.difference(&freed).copied().collect();
            let (smaller, rest): (BTreeSet<_>, BTreeSet<_>) = (fewer(&chosen), fewer(&staying));
            let may_go = haste == Haste::Now || loss::is_any(have, want, &freed);
            if may_go && !freed.is_empty() && refusal(&smaller, &rest).is_none() {
                (chosen, staying) = (smaller, rest);
                early.extend(freed);
            } else {
                chosen.remove(&id);
                refused.insert(id, full);
                last = Some(full);
            }
        }
        let written = question.draft(&chosen, &staying);
        let mut choice = Self {
            target: Contents::default(),
            rules: HashMap::new(),
            short: Vec::new(),
            held: BTreeSet::new(),
            early,
        };
        choice.endpoints(&question, &staying, &refused);
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

/// Rules of each ruleset.
fn sizes(want: &Contents) -> BTreeMap<RulesetId, usize> {
    let mut sizes = BTreeMap::new();
    for (ruleset, _) in want.rules.keys() {
        *sizes.entry(*ruleset).or_default() += 1;
    }
    sizes
}

/// Rulesets that nobody has any more once everybody has what is chosen for him.
fn freed(
    have: &Contents,
    want: &Contents,
    chosen: &BTreeSet<RulesetId>,
    wanted: &BTreeSet<RulesetId>,
) -> BTreeSet<RulesetId> {
    let mut freed: BTreeSet<_> = rulesets(have).difference(wanted).copied().collect();
    for (ifindex, entry) in &have.endpoints {
        for direction in [Direction::Ingress, Direction::Egress] {
            let Some(old) = of(entry, direction) else {
                continue;
            };
            let after = want.endpoints.get(ifindex);
            let next = after.and_then(|after| of(after, direction));
            if next.is_some_and(|next| !chosen.contains(&next.ruleset)) {
                freed.remove(&old.ruleset);
            }
        }
    }
    freed
}
