//! Port sets: what some rules allow together, each stored once under a number.
//!
//! Knows nothing of peers or rulesets. Invariant: two unions that allow the same packets have the
//! same number.

use std::{collections::BTreeSet, sync::Arc};

use policy_common::PortSetId;

use super::interner::Interner;
use crate::{plan::PortSetEntry, resolve::compile::ports::PortUnion};

/// A port set with the entries of its table.
pub(crate) type PortSetWrite = (PortSetId, Arc<[PortSetEntry]>);

/// All port sets in use. Uses are rules and defaults of rulesets.
#[derive(Debug)]
pub(crate) struct PortSets(Interner<PortUnion, PortSetId, Arc<[PortSetEntry]>>);

impl PortSets {
    pub(crate) fn new() -> Self {
        Self(Interner::new())
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
        let id = self.0.find(&ports).unwrap_or_else(|| {
            let entries = ports.entries();
            self.0.insert(Arc::new(ports), entries)
        });
        self.0.hold(id, 1);
        id
    }

    /// One use less. The set stays until [`PortSets::remove_unused`].
    pub(crate) fn release(&mut self, id: PortSetId) {
        self.0.release(id, 1);
    }

    /// The sets that the kernel does not have yet.
    pub(crate) fn take_fresh(&mut self) -> Vec<PortSetWrite> {
        let fresh = self.0.take_fresh().into_iter();
        fresh
            .filter_map(|id| Some((id, self.0.row(id)?.value.clone())))
            .collect()
    }

    /// Removes the sets without use and frees their numbers.
    pub(crate) fn remove_unused(&mut self) -> Vec<PortSetWrite> {
        let unused = self.0.take_idle(&BTreeSet::new()).into_iter();
        unused
            .filter_map(|id| Some((id, self.0.remove(id)?.value)))
            .collect()
    }

    /// How many sets [`PortSets::remove_unused`] would remove.
    pub(crate) fn unused(&self) -> usize {
        self.0.count_idle()
    }

    /// Every set that is not built in, by number.
    pub(crate) fn all(&self) -> impl Iterator<Item = PortSetWrite> {
        self.0.iter().map(|(id, row)| (id, row.value.clone()))
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
