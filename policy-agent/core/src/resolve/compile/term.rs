//! Which terms hold for a pod.
//!
//! Terms are grouped by scope and, inside a scope, by one label that a matching pod must have, so
//! that a pod is compared with few of them. Knows nothing of addresses or rulesets.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use slab::Slab;

use super::predicate::{PredicateId, Predicates, Scope, Term};
use crate::{
    model::{Labels, Requirement, Selector},
    resolve::facts::ids::ScopeId,
};

#[derive(Debug, Default)]
struct KeyTerms {
    exists: Vec<PredicateId>,
    values: FxHashMap<Arc<str>, Vec<PredicateId>>,
}

/// The terms of one scope, by a label that they require.
#[derive(Debug, Default)]
struct TermIndex {
    keys: FxHashMap<Arc<str>, KeyTerms>,
    rest: Vec<PredicateId>,
    count: usize,
}

/// The requirement that fewest pods meet, as far as its form tells.
fn pivot(selector: &Selector) -> Option<&Requirement> {
    selector
        .requirements()
        .iter()
        .filter(|requirement| matches!(requirement, Requirement::In(..) | Requirement::Exists(_)))
        .min_by_key(|requirement| match requirement {
            Requirement::In(_, values) => values.len(),
            _ => usize::MAX,
        })
}

impl TermIndex {
    fn buckets(&mut self, selector: &Selector, mut each: impl FnMut(&mut Vec<PredicateId>)) {
        match pivot(selector) {
            Some(Requirement::In(key, values)) => {
                let terms = self.keys.entry(key.clone()).or_default();
                for value in values {
                    each(terms.values.entry(value.clone()).or_default());
                }
                terms.values.retain(|_, bucket| !bucket.is_empty());
            }
            Some(Requirement::Exists(key)) => {
                each(&mut self.keys.entry(key.clone()).or_default().exists);
            }
            _ => each(&mut self.rest),
        }
    }

    fn insert(&mut self, id: PredicateId, selector: &Selector) {
        self.count += 1;
        self.buckets(selector, |bucket| bucket.push(id));
    }

    fn remove(&mut self, id: PredicateId, selector: &Selector) {
        self.count -= 1;
        self.buckets(selector, |bucket| bucket.retain(|&other| other != id));
        self.keys
            .retain(|_, terms| !terms.exists.is_empty() || !terms.values.is_empty());
    }

    fn matching(&self, labels: &Labels, predicates: &Predicates, into: &mut Vec<PredicateId>) {
        let mut try_all = |bucket: &[PredicateId]| {
            into.extend(bucket.iter().copied().filter(|&id| {
                predicates
                    .pods(id)
                    .is_some_and(|selector| selector.matches(labels))
            }));
        };
        try_all(&self.rest);
        if self.keys.is_empty() {
            return;
        }
        for (key, value) in labels {
            let Some(terms) = self.keys.get(key) else {
                continue;
            };
            try_all(&terms.exists);
            if let Some(bucket) = terms.values.get(value) {
                try_all(bucket);
            }
        }
    }
}

#[derive(Debug)]
struct ScopeTerms {
    scope: Scope,
    terms: TermIndex,
}

/// All active terms by scope.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    ids: FxHashMap<Scope, ScopeId>,
    slots: Slab<ScopeTerms>,
}

impl Scopes {
    /// Adds a term. Returns its scope when that is new.
    pub(crate) fn insert(&mut self, id: PredicateId, term: &Term) -> Option<ScopeId> {
        let (scope, new) = match self.ids.get(&term.scope) {
            Some(&scope) => (scope, false),
            None => {
                let scope = self.slots.insert(ScopeTerms {
                    scope: term.scope.clone(),
                    terms: TermIndex::default(),
                });
                self.ids.insert(term.scope.clone(), scope);
                (scope, true)
            }
        };
        self.slots[scope].terms.insert(id, &term.pods);
        new.then_some(scope)
    }

    /// Removes a term. Returns its scope when that has no terms left and is gone.
    pub(crate) fn remove(&mut self, id: PredicateId, term: &Term) -> Option<ScopeId> {
        let scope = *self.ids.get(&term.scope)?;
        self.slots[scope].terms.remove(id, &term.pods);
        if self.slots[scope].terms.count > 0 {
            return None;
        }
        self.ids.remove(&term.scope);
        self.slots.remove(scope);
        Some(scope)
    }

    /// The scopes with a namespace selector that matches the labels of a Namespace.
    pub(crate) fn matching<'a>(
        &'a self,
        labels: &'a Labels,
    ) -> impl Iterator<Item = ScopeId> + use<'a> {
        self.slots
            .iter()
            .filter_map(move |(id, slot)| match &slot.scope {
                Scope::Matching(selector) => selector.matches(labels).then_some(id),
                Scope::Namespace(_) => None,
            })
    }

    /// Collects the terms that hold for a pod with these labels; `scopes` are the ones with a
    /// namespace selector that its namespace matches.
    pub(crate) fn terms_of(
        &self,
        namespace: &Arc<str>,
        scopes: &[ScopeId],
        labels: &Labels,
        predicates: &Predicates,
        into: &mut Vec<PredicateId>,
    ) {
        let own = self.ids.get(&Scope::Namespace(namespace.clone()));
        for &scope in own.into_iter().chain(scopes) {
            self.slots[scope].terms.matching(labels, predicates, into);
        }
    }
}
