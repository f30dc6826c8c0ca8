//! Identities: sets of predicates that hold for some address or prefix.
//!
//! Uses of an identity are the addresses and prefixes that have it. Invariant: an identity without
//! any keeps its number and its rules until `collect`.

use std::collections::BTreeSet;

use policy_common::IdentityId;

use super::interner::Interner;
use crate::resolve::compile::predicate::{PredicateId, PredicateSet, Predicates};

/// All identities that are not reserved.
#[derive(Debug)]
pub(crate) struct Identities(Interner<[PredicateId], IdentityId, ()>);

impl Identities {
    pub(crate) fn new() -> Self {
        Self(Interner::new())
    }

    /// The identity of a sorted set.
    pub(crate) fn intern(
        &mut self,
        set: &[PredicateId],
        predicates: &mut Predicates,
    ) -> IdentityId {
        if set.is_empty() {
            return IdentityId::WORLD;
        }
        self.0.find(set).unwrap_or_else(|| {
            let id = self.0.insert(set.into(), ());
            predicates.add_identity(set, id);
            id
        })
    }

    /// The identity of some of an identity's holders that gain new predicates. Where they are all,
    /// it is the same one: it keeps its number, and nothing has to be written.
    pub(crate) fn refine(
        &mut self,
        id: IdentityId,
        holders: usize,
        gained: &[PredicateId],
        predicates: &mut Predicates,
    ) -> IdentityId {
        let mut set = self.set(id).to_vec();
        set.extend_from_slice(gained);
        set.sort_unstable();
        set.dedup();
        if self.0.uses(id) == holders && self.0.rekey(id, set.as_slice().into()) {
            predicates.add_identity(gained, id);
            return id;
        }
        self.intern(&set, predicates)
    }

    /// What an identity is when it has only the `kept` ones of its predicates: the same one, if
    /// there is no other with this set.
    pub(crate) fn coarsen(
        &mut self,
        id: IdentityId,
        kept: &[PredicateId],
        predicates: &mut Predicates,
    ) -> IdentityId {
        let before = self.set(id);
        if self.0.rekey(id, kept.into()) {
            let lost = before.iter().filter(|&id| !kept.contains(id));
            let lost: Vec<PredicateId> = lost.copied().collect();
            predicates.remove_identity(&lost, id);
            return id;
        }
        self.intern(kept, predicates)
    }

    /// How many addresses and prefixes have it.
    pub(crate) fn holders(&self, id: IdentityId) -> usize {
        self.0.uses(id)
    }

    /// So many holders more.
    pub(crate) fn hold(&mut self, id: IdentityId, holders: usize) {
        self.0.hold(id, holders);
    }

    /// So many holders less.
    pub(crate) fn release(&mut self, id: IdentityId, holders: usize) {
        self.0.release(id, holders);
    }

    /// The predicates of an identity; none for a reserved one.
    pub(crate) fn set(&self, id: IdentityId) -> PredicateSet {
        self.0
            .row(id)
            .map_or_else(|| [].into(), |row| row.key.clone())
    }

    /// The same, borrowed.
    pub(crate) fn predicates(&self, id: IdentityId) -> &[PredicateId] {
        self.0.row(id).map_or(&[], |row| &row.key)
    }

    /// The identities made since the last call.
    pub(crate) fn take_fresh(&mut self) -> Vec<IdentityId> {
        self.0.take_fresh()
    }

    /// Takes the list of identities without holders; each must be removed.
    pub(crate) fn take_unused(&mut self) -> BTreeSet<IdentityId> {
        self.0.take_idle(&BTreeSet::new())
    }

    /// How many identities [`Identities::take_unused`] would give.
    pub(crate) fn unused(&self) -> usize {
        self.0.count_idle()
    }

    /// Removes an identity and frees its number.
    pub(crate) fn remove(&mut self, id: IdentityId, predicates: &mut Predicates) {
        if let Some(row) = self.0.remove(id) {
            predicates.remove_identity(&row.key, id);
        }
    }
}
