//! Identities: sets of predicates that hold for some address or prefix, each stored once.
//!
//! Invariant: an identity without holders keeps its number and its rules until `collect`.

use std::collections::BTreeSet;

use policy_common::IdentityId;
use rustc_hash::FxHashMap;

use super::numbers::Numbers;
use crate::resolve::compile::predicate::{PredicateId, PredicateSet, Predicates};

#[derive(Debug)]
struct Identity {
    set: PredicateSet,
    /// Addresses and prefixes that have it.
    holders: usize,
}

/// All identities that are not reserved.
#[derive(Debug)]
pub(crate) struct Identities {
    ids: FxHashMap<PredicateSet, IdentityId>,
    identities: FxHashMap<IdentityId, Identity>,
    numbers: Numbers,
    fresh: Vec<IdentityId>,
    /// Without holders, until the next collection.
    idle: BTreeSet<IdentityId>,
}

impl Identities {
    pub(crate) fn new() -> Self {
        Self {
            ids: FxHashMap::default(),
            identities: FxHashMap::default(),
            numbers: Numbers::from(IdentityId::FIRST.0),
            fresh: Vec::new(),
            idle: BTreeSet::new(),
        }
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
        if let Some(&id) = self.ids.get(set) {
            return id;
        }
        let id = IdentityId(self.numbers.take());
        let set: PredicateSet = set.into();
        predicates.add_identity(&set, id);
        self.ids.insert(set.clone(), id);
        self.identities.insert(id, Identity { set, holders: 0 });
        self.fresh.push(id);
        self.idle.insert(id);
        id
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
        if self.holders(id) == holders && self.redefine(id, &set) {
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
        if self.redefine(id, kept) {
            let lost = before.iter().filter(|&id| !kept.contains(id));
            let lost: Vec<PredicateId> = lost.copied().collect();
            predicates.remove_identity(&lost, id);
            return id;
        }
        self.intern(kept, predicates)
    }

    /// Gives an identity another set, unless that is another's already; returns whether it did.
    fn redefine(&mut self, id: IdentityId, set: &[PredicateId]) -> bool {
        let Some(identity) = self.identities.get_mut(&id) else {
            return false;
        };
        if self.ids.contains_key(set) {
            return false;
        }
        let set: PredicateSet = set.into();
        self.ids.remove(&identity.set);
        self.ids.insert(set.clone(), id);
        identity.set = set;
        true
    }

    /// How many addresses and prefixes have it.
    pub(crate) fn holders(&self, id: IdentityId) -> usize {
        self.identities
            .get(&id)
            .map_or(0, |identity| identity.holders)
    }

    /// So many holders more.
    pub(crate) fn hold(&mut self, id: IdentityId, holders: usize) {
        if let Some(identity) = self.identities.get_mut(&id) {
            if identity.holders == 0 {
                self.idle.remove(&id);
            }
            identity.holders += holders;
        }
    }

    /// So many holders less.
    pub(crate) fn release(&mut self, id: IdentityId, holders: usize) {
        if let Some(identity) = self.identities.get_mut(&id) {
            identity.holders -= holders;
            if identity.holders == 0 {
                self.idle.insert(id);
            }
        }
    }

    /// The predicates of an identity; none for a reserved one.
    pub(crate) fn set(&self, id: IdentityId) -> PredicateSet {
        self.identities
            .get(&id)
            .map_or_else(|| [].into(), |identity| identity.set.clone())
    }

    /// The identities made since the last call.
    pub(crate) fn take_fresh(&mut self) -> Vec<IdentityId> {
        std::mem::take(&mut self.fresh)
    }

    /// Takes the list of identities without holders; each must be removed.
    pub(crate) fn take_unused(&mut self) -> BTreeSet<IdentityId> {
        std::mem::take(&mut self.idle)
    }

    /// How many identities [`Identities::take_unused`] would give.
    pub(crate) fn unused(&self) -> usize {
        self.idle.len()
    }

    /// Forgets an identity and frees its number.
    pub(crate) fn remove(&mut self, id: IdentityId, predicates: &mut Predicates) {
        if let Some(identity) = self.identities.remove(&id) {
            self.ids.remove(&identity.set);
            predicates.remove_identity(&identity.set, id);
            self.numbers.give_back(id.0);
        }
    }
}
