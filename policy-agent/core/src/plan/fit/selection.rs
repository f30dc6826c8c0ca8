//! Which rulesets get room: what is in force, then as many of the wanted ones as fit, small ones first.

use std::collections::{BTreeMap, BTreeSet};

use policy_common::{Direction, RulesetId};

use super::{
    Haste,
    draft::{Draft, Full, Question},
    loss, of, rulesets,
};
use crate::plan::contents::Contents;

/// Rulesets beyond the smallest that fit together which are tried one by one.
const TRIES: usize = 32;

/// The rulesets that are chosen, and those that are not.
pub(super) struct Selection {
    chosen: BTreeSet<RulesetId>,
    /// Rulesets in force that stay until the others are there.
    pub(super) staying: BTreeSet<RulesetId>,
    /// Rulesets that endpoints must let go of before there is room for others.
    pub(super) early: BTreeSet<RulesetId>,
    /// Those without room.
    pub(super) refused: BTreeMap<RulesetId, Full>,
    /// Addresses that are nobody's with what is in force alone.
    nobodies: usize,
}

impl Selection {
    pub(super) fn of(question: &Question<'_>, haste: Haste) -> Self {
        // What is in force comes first; it grows only with new addresses, which can be nobody's.
        let staying = rulesets(question.have);
        let mut selection = Self {
            chosen: staying.clone(),
            nobodies: question.draft(&staying, &staying).nobodies(),
            staying,
            early: BTreeSet::new(),
            refused: BTreeMap::new(),
        };
        let wanted = rulesets(question.want);
        let mut new: Vec<_> = wanted.difference(&selection.chosen).copied().collect();
        let size = sizes(question.want);
        // So that as many pods as possible have their rules.
        new.sort_by_key(|id| (size.get(id).copied().unwrap_or(0), *id));
        let fit = selection.take_smallest(question, &new);
        selection.try_each(question, haste, &wanted, &new[fit..]);
        selection
    }

    /// The tables with all that are chosen.
    pub(super) fn draft(&self, question: &Question<'_>) -> Draft {
        question.draft(&self.chosen, &self.staying)
    }

    /// Chooses as many as fit together, from the first on; how many.
    fn take_smallest(&mut self, question: &Question<'_>, new: &[RulesetId]) -> usize {
        let with = |count: usize| -> BTreeSet<RulesetId> {
            let new = new.iter().take(count);
            self.chosen.iter().chain(new).copied().collect()
        };
        let (mut fits, mut fails) = (0, new.len() + 1);
        while fits + 1 < fails {
            let middle = usize::midpoint(fits, fails);
            if self
                .refusal(question, &with(middle), &self.staying)
                .is_none()
            {
                fits = middle;
            } else {
                fails = middle;
            }
        }
        self.chosen = with(fits);
        fits
    }

    /// Chooses of the rest, one by one, what fits, or does once old rules have gone.
    fn try_each(
        &mut self,
        question: &Question<'_>,
        haste: Haste,
        wanted: &BTreeSet<RulesetId>,
        rest: &[RulesetId],
    ) {
        let mut last = None;
        for (tried, &id) in rest.iter().enumerate() {
            if let Some(full) = last.filter(|_| tried >= TRIES) {
                self.refused.insert(id, full);
                continue;
            }
            self.chosen.insert(id);
            let Some(full) = self.refusal(question, &self.chosen, &self.staying) else {
                continue;
            };
            if !self.free(question, haste, wanted) {
                self.chosen.remove(&id);
                self.refused.insert(id, full);
                last = Some(full);
            }
        }
    }

    /// The old rules of those who want what is chosen may make the room for it, if nobody else has
    /// them: lets go of them then.
    fn free(
        &mut self,
        question: &Question<'_>,
        haste: Haste,
        wanted: &BTreeSet<RulesetId>,
    ) -> bool {
        let (have, want) = (question.have, question.want);
        let freed = freed(have, want, &self.chosen, wanted);
        let may_go = haste == Haste::Now || loss::is_any(have, want, &freed);
        if !may_go || freed.is_empty() {
            return false;
        }
        let fewer = |all: &BTreeSet<RulesetId>| all.difference(&freed).copied().collect();
        let (chosen, staying) = (fewer(&self.chosen), fewer(&self.staying));
        if self.refusal(question, &chosen, &staying).is_some() {
            return false;
        }
        (self.chosen, self.staying) = (chosen, staying);
        self.early.extend(freed);
        true
    }

    /// Which table has no room for these, or for addresses that have some without them.
    fn refusal(
        &self,
        question: &Question<'_>,
        chosen: &BTreeSet<RulesetId>,
        staying: &BTreeSet<RulesetId>,
    ) -> Option<Full> {
        let draft = question.draft(chosen, staying);
        let lost = draft.lost().filter(|_| draft.nobodies() > self.nobodies);
        draft.full.or(lost)
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
