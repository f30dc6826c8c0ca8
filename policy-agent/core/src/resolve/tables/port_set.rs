//! Port sets: what some rules allow together, each stored once under a number.
//!
//! Knows nothing of peers or rulesets. Invariant: two unions that allow the same packets have the
//! same number.

use std::{collections::BTreeSet, sync::Arc};

use policy_common::PortSetId;
use rustc_hash::FxHashMap;

use super::numbers::Numbers;
use crate::{plan::PortSetEntry, resolve::compile::ports::PortUnion};

#[derive(Debug)]
struct PortSet {
    ports: PortUnion,
    entries: Arc<[PortSetEntry]>,
    uses: usize,
}

/// All port sets in use.
#[derive(Debug)]
pub(crate) struct PortSets {
    ids: FxHashMap<PortUnion, PortSetId>,
    sets: FxHashMap<PortSetId, PortSet>,
    numbers: Numbers,
    /// Made since [`PortSets::take_fresh`].
    fresh: Vec<PortSetId>,
    /// Without use, until the next collection.
    idle: BTreeSet<PortSetId>,
}

impl PortSets {
    pub(crate) fn new() -> Self {
        Self {
            ids: FxHashMap::default(),
            sets: FxHashMap::default(),
            numbers: Numbers::from(PortSetId::FIRST.0),
            fresh: Vec::new(),
            idle: BTreeSet::new(),
        }
    }

    /// The number of a union, with one use more.
    pub(crate) fn acquire(&mut self, ports: PortUnion) -> PortSetId {
        let ports = ports.normalised();
        if ports.is_everything() {
            return PortSetId::ALLOW_ALL;
        }
        if ports.is_empty() {
            return PortSetId::DENY_ALL;
        }
        let id = match self.ids.get(&ports) {
            Some(&id) => id,
            None => {
                let id = PortSetId(self.numbers.take());
                self.ids.insert(ports.clone(), id);
                let entries = ports.entries();
                self.sets.insert(
                    id,
                    PortSet {
                        ports,
                        entries,
                        uses: 0,
                    },
                );
                self.fresh.push(id);
                id
            }
        };
        if let Some(set) = self.sets.get_mut(&id) {
            set.uses += 1;
            self.idle.remove(&id);
        }
        id
    }

    /// One use less. The set stays until [`PortSets::remove_unused`].
    pub(crate) fn release(&mut self, id: PortSetId) {
        if let Some(set) = self.sets.get_mut(&id) {
            set.uses -= 1;
            if set.uses == 0 {
                self.idle.insert(id);
            }
        }
    }

    /// The sets that the kernel does not have yet.
    pub(crate) fn take_fresh(&mut self) -> Vec<(PortSetId, Arc<[PortSetEntry]>)> {
        let fresh = std::mem::take(&mut self.fresh);
        fresh
            .into_iter()
            .filter_map(|id| Some((id, self.sets.get(&id)?.entries.clone())))
            .collect()
    }

    /// Forgets the sets without use and frees their numbers.
    pub(crate) fn remove_unused(&mut self) -> Vec<(PortSetId, Arc<[PortSetEntry]>)> {
        std::mem::take(&mut self.idle)
            .into_iter()
            .filter_map(|id| {
                let set = self.sets.remove(&id)?;
                self.ids.remove(&set.ports);
                self.numbers.give_back(id.0);
                Some((id, set.entries))
            })
            .collect()
    }

    /// How many sets [`PortSets::remove_unused`] would remove.
    pub(crate) fn unused(&self) -> usize {
        self.idle.len()
    }

    /// Every set that is not built in, by number.
    pub(crate) fn all(&self) -> Vec<(PortSetId, Arc<[PortSetEntry]>)> {
        let mut all: Vec<_> = self
            .sets
            .iter()
            .map(|(&id, set)| (id, set.entries.clone()))
            .collect();
        all.sort_unstable_by_key(|&(id, _)| id);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    #[test]
    fn unions_that_allow_the_same_share_a_number() {
        let mut sets = PortSets::new();
        let mut split = PortUnion::default();
        split.add_range(Protocol::Tcp, 80, 90);
        split.add_range(Protocol::Tcp, 91, 100);
        split.add_range(Protocol::Tcp, 85, 95);
        let mut whole = PortUnion::default();
        whole.add_range(Protocol::Tcp, 80, 100);
        let id = sets.acquire(split);
        assert_eq!(id, sets.acquire(whole));
        assert_eq!(sets.take_fresh().len(), 1);
        sets.release(id);
        assert!(sets.remove_unused().is_empty());
        sets.release(id);
        assert_eq!(sets.remove_unused().len(), 1);
    }
}
