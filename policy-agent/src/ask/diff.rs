//! What one set of manifests opens and closes beside another.

use std::{collections::BTreeMap, fmt};

use policy_core::{model::ObjectName, resolve::Resolver};
use serde::Serialize;

use super::matrix::{Cell, Row, listed, outside, pair};

/// The version of the JSON.
const VERSION: u32 = 1;

/// The difference, among the parties that both sets have.
#[derive(Debug, Serialize)]
pub struct Difference {
    version: u32,
    /// Where something passes that did not.
    opened: Vec<Change>,
    /// Where something that passed does not, and nothing is opened.
    closed: Vec<Change>,
    /// Pods that only the later set has: nothing is compared of them.
    added: Vec<String>,
    /// Pods that only the earlier set has.
    removed: Vec<String>,
}

/// What changed between two parties.
#[derive(Debug, Serialize)]
struct Change {
    from: Vec<String>,
    to: Vec<String>,
    before: String,
    after: String,
}

impl Difference {
    /// Compares two sets.
    pub fn new(before: &Resolver, after: &Resolver) -> Self {
        let (old, new) = (members(before), members(after));
        let only = |own: &BTreeMap<ObjectName, usize>, other: &BTreeMap<ObjectName, usize>| {
            let only = own.keys().filter(|name| !other.contains_key(*name));
            only.map(ToString::to_string).collect()
        };
        let mut classes: BTreeMap<(usize, usize), Vec<ObjectName>> = BTreeMap::new();
        for (name, class) in &old {
            if let Some(other) = new.get(name) {
                let class = classes.entry((*class, *other)).or_default();
                class.push(name.clone());
            }
        }
        let mut rows: Vec<_> = classes.into_values().map(Row::Pods).collect();
        rows.sort();
        rows.extend(outside(&[before, after]));
        let (mut opened, mut closed) = (Vec::new(), Vec::new());
        for from in &rows {
            for to in &rows {
                let Some((source, destination)) = pair(from, to) else {
                    continue;
                };
                let cells = [before, after].map(|one| Cell::of(one, &source, &destination));
                let [Some(was), Some(is)] = cells else {
                    continue;
                };
                if was == is {
                    continue;
                }
                let list = match is.exceeds(&was) {
                    true => &mut opened,
                    false => &mut closed,
                };
                list.push(Change {
                    from: from.names(),
                    to: to.names(),
                    before: was.to_string(),
                    after: is.to_string(),
                });
            }
        }
        Self {
            version: VERSION,
            opened,
            closed,
            added: only(&new, &old),
            removed: only(&old, &new),
        }
    }

    /// Whether something passes that did not.
    pub fn opens(&self) -> bool {
        !self.opened.is_empty()
    }
}

/// The class of each pod.
fn members(resolver: &Resolver) -> BTreeMap<ObjectName, usize> {
    let classes = resolver.classes().into_iter().enumerate();
    classes
        .flat_map(|(index, class)| class.pods.into_iter().map(move |pod| (pod, index)))
        .collect()
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (word, changes) in [("opens ", &self.opened), ("closes", &self.closed)] {
            for change in changes {
                let (from, to) = (listed(&change.from), listed(&change.to));
                let Change { before, after, .. } = change;
                writeln!(f, "{word} {from} -> {to}: {after} (was {before})")?;
            }
        }
        for (word, pods) in [("added", &self.added), ("removed", &self.removed)] {
            if !pods.is_empty() {
                writeln!(f, "{word}, and not compared: {}", listed(pods))?;
            }
        }
        let (opened, closed) = (self.opened.len(), self.closed.len());
        writeln!(f, "{opened} opened, {closed} closed")
    }
}
