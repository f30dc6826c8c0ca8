//! Labelled things by label: the things that a selector matches, without asking every thing.
//!
//! Knows nothing of what the things are. Invariant: a thing stands under each of its labels.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::model::{Labels, Requirement, Selector};

/// Things, sorted.
type Things<T> = SmallVec<[T; 4]>;

/// The things that have a label key.
#[derive(Debug)]
struct Holders<T> {
    all: Things<T>,
    by_value: FxHashMap<Arc<str>, Things<T>>,
}

/// Things by label.
#[derive(Debug)]
pub(crate) struct LabelIndex<T> {
    all: Things<T>,
    keys: FxHashMap<Arc<str>, Holders<T>>,
}

/// A requirement as the things that it names: these meet it and no others, or the reverse.
struct Named<'a, T> {
    things: SmallVec<[&'a Things<T>; 2]>,
    /// Whether the named things meet it.
    these: bool,
}

impl<T: Ord> Named<'_, T> {
    fn is_met_by(&self, thing: &T) -> bool {
        let mut things = self.things.iter();
        things.any(|things| things.binary_search(thing).is_ok()) == self.these
    }

    fn count(&self) -> usize {
        self.things.iter().map(|things| things.len()).sum()
    }
}

impl<T> Default for LabelIndex<T> {
    fn default() -> Self {
        Self {
            all: Things::new(),
            keys: FxHashMap::default(),
        }
    }
}

fn list<T: Ord + Clone>(things: &mut Things<T>, thing: &T) {
    if things.last().is_none_or(|last| last < thing) {
        things.push(thing.clone());
    } else if let Err(at) = things.binary_search(thing) {
        things.insert(at, thing.clone());
    }
}

fn unlist<T: Ord>(things: &mut Things<T>, thing: &T) {
    if let Ok(at) = things.binary_search(thing) {
        things.remove(at);
    }
}

impl<T: Ord + Clone> LabelIndex<T> {
    pub(crate) fn insert(&mut self, thing: &T, labels: &Labels) {
        list(&mut self.all, thing);
        for (key, value) in labels {
            let holders = self.keys.entry(key.clone()).or_insert_with(|| Holders {
                all: Things::new(),
                by_value: FxHashMap::default(),
            });
            list(&mut holders.all, thing);
            list(holders.by_value.entry(value.clone()).or_default(), thing);
        }
    }

    /// Removes a thing that was inserted with these labels.
    pub(crate) fn remove(&mut self, thing: &T, labels: &Labels) {
        unlist(&mut self.all, thing);
        for (key, value) in labels {
            let Some(holders) = self.keys.get_mut(key) else {
                continue;
            };
            unlist(&mut holders.all, thing);
            if holders.all.is_empty() {
                self.keys.remove(key);
            } else if let Some(things) = holders.by_value.get_mut(value) {
                unlist(things, thing);
                if things.is_empty() {
                    holders.by_value.remove(value);
                }
            }
        }
    }

    /// Calls `each` for the things that the selector matches.
    pub(crate) fn matching(&self, selector: &Selector, mut each: impl FnMut(&T)) {
        let requirements = selector.requirements().iter();
        let named: SmallVec<[Named<'_, T>; 4]> = requirements
            .map(|requirement| self.named(requirement))
            .collect();
        let positive = named.iter().filter(|named| named.these);
        let fewest = match positive.min_by_key(|named| named.count()) {
            Some(fewest) => fewest.things.clone(),
            None => SmallVec::from_slice(&[&self.all]),
        };
        for thing in fewest.into_iter().flatten() {
            if named.iter().all(|named| named.is_met_by(thing)) {
                each(thing);
            }
        }
    }

    fn named(&self, requirement: &Requirement) -> Named<'_, T> {
        let holders = |key| self.keys.get(key).into_iter();
        let all = |key| holders(key).map(|holders| &holders.all).collect();
        let of_values = |key, values: &[Arc<str>]| {
            let holders = holders(key);
            holders
                .flat_map(|holders| {
                    let values = values.iter();
                    values.filter_map(|value| holders.by_value.get(value))
                })
                .collect()
        };
        let (things, these) = match requirement {
            Requirement::In(key, values) => (of_values(key, values), true),
            Requirement::NotIn(key, values) => (of_values(key, values), false),
            Requirement::Exists(key) => (all(key), true),
            Requirement::DoesNotExist(key) => (all(key), false),
            Requirement::Never => (SmallVec::new(), true),
        };
        Named { things, these }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Arc<str> {
        text.into()
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        let pairs = pairs.iter();
        pairs.map(|&(k, v)| (text(k), text(v))).collect()
    }

    fn selectors() -> Vec<Selector> {
        let values = || vec![text("x"), text("y")];
        let [app, tier, none] = ["app", "tier", "none"].map(text);
        let requirements = [
            Requirement::In(app.clone(), values()),
            Requirement::In(tier.clone(), vec![text("z")]),
            Requirement::In(none.clone(), values()),
            Requirement::NotIn(app.clone(), vec![text("x")]),
            Requirement::NotIn(none.clone(), values()),
            Requirement::Exists(tier.clone()),
            Requirement::Exists(none.clone()),
            Requirement::DoesNotExist(app),
            Requirement::DoesNotExist(tier),
            Requirement::Never,
        ];
        let mut selectors = vec![Selector::everything()];
        for one in &requirements {
            for other in &requirements {
                selectors.push(Selector::new([one.clone(), other.clone()]));
            }
        }
        selectors
    }

    #[test]
    fn the_index_finds_what_the_selector_matches_while_things_come_and_go() {
        let things = [
            labels(&[]),
            labels(&[("app", "x")]),
            labels(&[("app", "y"), ("tier", "z")]),
            labels(&[("app", "z"), ("tier", "x")]),
            labels(&[("tier", "z")]),
            labels(&[("app", "x"), ("tier", "z")]),
        ];
        let mut index = LabelIndex::default();
        let mut inside = Vec::new();
        for removed in [None, Some(5), Some(1), Some(0), Some(2), Some(3), Some(4)] {
            match removed {
                None => {
                    for (number, labels) in things.iter().enumerate() {
                        index.insert(&number, labels);
                        inside.push(number);
                    }
                }
                Some(removed) => {
                    index.remove(&removed, &things[removed]);
                    inside.retain(|&number| number != removed);
                }
            }
            for selector in selectors() {
                let mut found = Vec::new();
                index.matching(&selector, |&number| found.push(number));
                found.sort_unstable();
                let matches = |number: &usize| selector.matches(&things[*number]);
                let expected: Vec<usize> = inside.iter().copied().filter(matches).collect();
                assert_eq!(found, expected, "{selector:?} without {removed:?}");
            }
        }
        assert!(index.keys.is_empty(), "labels of nobody are forgotten");
    }
}
