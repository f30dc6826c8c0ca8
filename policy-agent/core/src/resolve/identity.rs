//! Identities: sets of predicates that hold for some address or prefix, each stored once.
//!
//! Invariant: an identity without holders keeps its number and its rules until `collect`.

use policy_common::IdentityId;
use rustc_hash::FxHashMap;

use super::{
    numbers::Numbers,
    predicate::{PredicateId, PredicateSet, Predicates},
};

#[derive(Debug)]
struct Identity {
    set: PredicateSet,
    /// Addresses and prefixes that have it.
    holders: usize,
}

/// All identities that are not reserved.
#[derive(Debug)]
pub(super) struct Identities {
    ids: FxHashMap<PredicateSet, IdentityId>,
    identities: FxHashMap<IdentityId, Identity>,
    numbers: Numbers,
    fresh: Vec<IdentityId>,
    idle: Vec<IdentityId>,
}

impl Identities {
    pub(super) fn new() -> Self {
        Self {
            ids: FxHashMap::default(),
            identities: FxHashMap::default(),
            numbers: Numbers::from(IdentityId::FIRST.0),
            fresh: Vec::new(),
            idle: Vec::new(),
        }
    }

    /// The identity of a sorted set, with one holder more.
    pub(super) fn acquire(
        &mut self,
        set: &[PredicateId],
        predicates: &mut Predicates,
    ) -> IdentityId {
        if set.is_empty() {
            return IdentityId::WORLD;
        }
        let id = match self.ids.get(set) {
            Some(&id) => id,
            None => {
                let id = IdentityId(self.numbers.take());
                let set: PredicateSet = set.into();
                predicates.add_identity(&set, id);
                self.ids.insert(set.clone(), id);
                self.identities.insert(id, Identity { set, holders: 0 });
                self.fresh.push(id);
                id
            }
        };
        if let Some(identity) = self.identities.get_mut(&id) {
            identity.holders += 1;
        }
        id
    }

    /// One holder less.
    pub(super) fn release(&mut self, id: IdentityId) {
        if let Some(identity) = self.identities.get_mut(&id) {
            identity.holders -= 1;
            if identity.holders == 0 {
                self.idle.push(id);
            }
        }
    }

    /// The predicates of an identity; none for a reserved one.
    pub(super) fn set(&self, id: IdentityId) -> PredicateSet {
        self.identities
            .get(&id)
            .map_or_else(|| [].into(), |identity| identity.set.clone())
    }

    /// The identities made since the last call.
    pub(super) fn take_fresh(&mut self) -> Vec<IdentityId> {
        std::mem::take(&mut self.fresh)
    }

    /// The identities without holders.
    pub(super) fn take_unused(&mut self) -> Vec<IdentityId> {
        let mut idle = std::mem::take(&mut self.idle);
        idle.sort_unstable();
        idle.dedup();
        idle.retain(|id| {
            self.identities
                .get(id)
                .is_some_and(|identity| identity.holders == 0)
        });
        idle
    }

    /// Whether [`Identities::take_unused`] would find something.
    pub(super) fn has_unused(&self) -> bool {
        self.idle.iter().any(|id| {
            self.identities
                .get(id)
                .is_some_and(|identity| identity.holders == 0)
        })
    }

    /// Forgets an identity and frees its number.
    pub(super) fn remove(&mut self, id: IdentityId, predicates: &mut Predicates) {
        if let Some(identity) = self.identities.remove(&id) {
            self.ids.remove(&identity.set);
            predicates.remove_identity(&identity.set, id);
            self.numbers.give_back(id.0);
        }
    }
}
