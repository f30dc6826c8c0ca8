//! Active predicates: what can hold for an address and matters to a rule.
//!
//! Owns their numbers, and for each the rulesets that ask for it and the identities that have it.
//! Invariant: a predicate lives while a ruleset asks for it or an identity has it.

use std::sync::Arc;

use policy_common::{IdentityId, RulesetId};
use rustc_hash::{FxHashMap, FxHashSet};
use slab::Slab;

use crate::model::{ContainerPort, IpBlock, Protocol, Selector};

/// Number of a predicate, inside the resolver only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PredicateId(u32);

/// A set of predicates, sorted.
pub(crate) type PredicateSet = Arc<[PredicateId]>;

/// The namespaces in which a term looks for pods.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// This one, whether its Namespace object is known or not.
    Namespace(Arc<str>),
    /// Those whose labels the selector matches.
    Matching(Selector),
}

/// A peer selector with its scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Term {
    pub(crate) scope: Scope,
    pub(crate) pods: Selector,
}

/// What can hold for an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Predicate {
    /// The pod of the address is one of these.
    Term(Term),
    /// The address is in the block and in none of its exceptions.
    Block(IpBlock),
    /// Egress rules allow these peers (`None`: everybody) on a named port. Never in an identity
    /// itself; together with the peer because the ports of other pods must not split identities.
    Name(Option<PredicateId>, Protocol, Arc<str>),
    /// The pod of the address is one of the peers of a `Name` and declares the number.
    Number(PredicateId, u16),
}

#[derive(Debug)]
struct Slot {
    predicate: Arc<Predicate>,
    rulesets: FxHashSet<RulesetId>,
    identities: FxHashSet<IdentityId>,
}

/// All active predicates.
#[derive(Debug, Default)]
pub(crate) struct Predicates {
    ids: FxHashMap<Arc<Predicate>, PredicateId>,
    slots: Slab<Slot>,
    /// How many `Name` predicates there are of each port name.
    names: FxHashMap<Arc<str>, usize>,
    fresh: Vec<PredicateId>,
}

impl Predicates {
    /// The number of a predicate; a new one is remembered for [`Predicates::take_fresh`].
    pub(crate) fn intern(&mut self, predicate: Predicate) -> PredicateId {
        if let Some(&id) = self.ids.get(&predicate) {
            return id;
        }
        if let Predicate::Name(_, _, name) = &predicate {
            *self.names.entry(name.clone()).or_default() += 1;
        }
        let predicate = Arc::new(predicate);
        let key = self.slots.insert(Slot {
            predicate: predicate.clone(),
            rulesets: FxHashSet::default(),
            identities: FxHashSet::default(),
        });
        // Fewer than 2^32 predicates: each takes more than one byte of memory many times over.
        let id = PredicateId(key as u32);
        self.ids.insert(predicate, id);
        self.fresh.push(id);
        id
    }

    /// Adds the numbers that a pod declares under names which rules use for a peer in `set`.
    pub(crate) fn add_numbers(&mut self, ports: &[ContainerPort], set: &mut Vec<PredicateId>) {
        let peers = set.len();
        for port in ports {
            if !self.names.contains_key(&port.name) {
                continue;
            }
            for index in 0..=peers {
                let peer = index.checked_sub(1).map(|index| set[index]);
                let name = Predicate::Name(peer, port.protocol, port.name.clone());
                if let Some(&name) = self.ids.get(&name)
                    && self.is_asked_for(name)
                {
                    set.push(self.intern(Predicate::Number(name, port.number)));
                }
            }
        }
    }

    /// The predicates made since the last call.
    pub(crate) fn take_fresh(&mut self) -> Vec<PredicateId> {
        std::mem::take(&mut self.fresh)
    }

    /// Forgets a predicate that nothing uses.
    pub(crate) fn remove(&mut self, id: PredicateId) {
        if let Some(slot) = self.slots.try_remove(id.0 as usize) {
            self.ids.remove(&slot.predicate);
            if let Predicate::Name(_, _, name) = slot.predicate.as_ref()
                && let Some(count) = self.names.get_mut(name)
            {
                *count -= 1;
                if *count == 0 {
                    self.names.remove(name);
                }
            }
        }
    }

    pub(crate) fn get(&self, id: PredicateId) -> Option<&Arc<Predicate>> {
        Some(&self.slots.get(id.0 as usize)?.predicate)
    }

    /// The selector of a term.
    pub(crate) fn pods(&self, id: PredicateId) -> Option<&Selector> {
        match self.get(id)?.as_ref() {
            Predicate::Term(term) => Some(&term.pods),
            _ => None,
        }
    }

    pub(crate) fn is_block(&self, id: PredicateId) -> bool {
        self.get(id)
            .is_some_and(|predicate| matches!(**predicate, Predicate::Block(_)))
    }

    /// The name behind a number, otherwise the predicate itself: what rulesets ask for.
    pub(crate) fn asked_as(&self, id: PredicateId) -> PredicateId {
        match self.get(id).map(|predicate| predicate.as_ref()) {
            Some(&Predicate::Number(name, _)) => name,
            _ => id,
        }
    }

    /// The rulesets for which it matters whether the predicate holds.
    pub(crate) fn rulesets(&self, id: PredicateId) -> impl Iterator<Item = RulesetId> {
        self.slots
            .get(self.asked_as(id).0 as usize)
            .into_iter()
            .flat_map(|slot| slot.rulesets.iter().copied())
    }

    /// The identities that have the predicate, or a number under the name.
    pub(crate) fn identities(&self, id: PredicateId) -> impl Iterator<Item = IdentityId> {
        self.slots
            .get(id.0 as usize)
            .into_iter()
            .flat_map(|slot| slot.identities.iter().copied())
    }

    pub(crate) fn add_ruleset(&mut self, id: PredicateId, ruleset: RulesetId) {
        if let Some(slot) = self.slots.get_mut(id.0 as usize) {
            slot.rulesets.insert(ruleset);
        }
    }

    /// Returns whether no ruleset asks for the predicate any more.
    pub(crate) fn remove_ruleset(&mut self, id: PredicateId, ruleset: RulesetId) -> bool {
        self.slots.get_mut(id.0 as usize).is_some_and(|slot| {
            slot.rulesets.remove(&ruleset);
            slot.rulesets.is_empty()
        })
    }

    pub(crate) fn is_asked_for(&self, id: PredicateId) -> bool {
        self.slots
            .get(id.0 as usize)
            .is_some_and(|slot| !slot.rulesets.is_empty())
    }

    /// A new identity has these predicates.
    pub(crate) fn add_identity(&mut self, set: &[PredicateId], identity: IdentityId) {
        for &id in set {
            for id in [id, self.asked_as(id)] {
                if let Some(slot) = self.slots.get_mut(id.0 as usize) {
                    slot.identities.insert(identity);
                }
            }
        }
    }

    /// The identity is gone. Numbers that no identity has are forgotten.
    pub(crate) fn remove_identity(&mut self, set: &[PredicateId], identity: IdentityId) {
        for &id in set {
            let asked_as = self.asked_as(id);
            for either in [id, asked_as] {
                if let Some(slot) = self.slots.get_mut(either.0 as usize) {
                    slot.identities.remove(&identity);
                }
            }
            if asked_as != id && self.identities(id).next().is_none() {
                self.remove(id);
            }
        }
    }
}
