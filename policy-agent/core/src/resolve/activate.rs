//! Activation: which addresses a new predicate may concern.
//!
//! Invariant: every address for which a predicate of a new ruleset holds is marked.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    Resolver,
    cluster::{Namespace, PodId},
    predicate::{Predicate, PredicateId, Scope, Term},
};

/// With more new terms than this in a namespace, its pods are evaluated without asking first
/// whether one of them matches.
const FEW_TERMS: usize = 8;

impl Resolver {
    /// Makes the predicates known for which new rulesets ask, and marks the addresses for which
    /// they may hold.
    pub(super) fn activate(&mut self) {
        let mut terms: Vec<(PredicateId, Term)> = Vec::new();
        let mut names: FxHashSet<PredicateId> = FxHashSet::default();
        for id in self.predicates.take_fresh() {
            if !self.predicates.is_asked_for(id) {
                self.predicates.remove(id);
                continue;
            }
            match self.predicates.get(id).map(Arc::as_ref) {
                Some(Predicate::Term(term)) => terms.push((id, term.clone())),
                Some(Predicate::Block(block)) => self.blocks.insert(id, block),
                Some(Predicate::Name(..)) => {
                    names.insert(id);
                }
                Some(Predicate::Number(..)) | None => {}
            }
        }
        if !terms.is_empty() {
            self.activate_terms(&terms);
        }
        if !names.is_empty() {
            self.activate_names(&names);
        }
    }

    fn activate_terms(&mut self, terms: &[(PredicateId, Term)]) {
        let mut by_namespace: FxHashMap<Arc<str>, Vec<PredicateId>> = FxHashMap::default();
        let mut by_selector: FxHashMap<&Scope, Vec<PredicateId>> = FxHashMap::default();
        for (id, term) in terms {
            match &term.scope {
                Scope::Namespace(name) => by_namespace.entry(name.clone()).or_default().push(*id),
                scope => by_selector.entry(scope).or_default().push(*id),
            }
            if let Some(scope) = self.scopes.insert(*id, term)
                && let Scope::Matching(selector) = &term.scope
            {
                for namespace in self.cluster.namespaces.values_mut() {
                    let labels = namespace.labels.as_ref();
                    if labels.is_some_and(|labels| selector.matches(labels)) {
                        namespace.scopes.push(scope);
                        namespace.scopes.sort_unstable();
                    }
                }
            }
        }
        for (scope, ids) in by_selector {
            let Scope::Matching(selector) = scope else {
                continue;
            };
            for (name, namespace) in &self.cluster.namespaces {
                let labels = namespace.labels.as_ref();
                if labels.is_some_and(|labels| selector.matches(labels)) {
                    by_namespace.entry(name.clone()).or_default().extend(&ids);
                }
            }
        }
        let mut marked = Vec::new();
        for (name, ids) in by_namespace {
            if let Some(namespace) = self.cluster.namespaces.get(&name) {
                marked.extend(self.pods_of_any(namespace, &ids));
            }
        }
        for pod in marked {
            self.cluster.mark_pod(pod);
        }
    }

    /// The pods of a namespace for which one of the terms holds, or perhaps does.
    fn pods_of_any(
        &self,
        namespace: &Namespace,
        terms: &[PredicateId],
    ) -> impl Iterator<Item = PodId> {
        namespace.pods.iter().copied().filter(move |&pod| {
            terms.len() > FEW_TERMS
                || self.cluster.pods.get(pod as usize).is_some_and(|pod| {
                    terms.iter().any(|&term| {
                        let selector = self.predicates.pods(term);
                        selector.is_some_and(|selector| selector.matches(&pod.labels))
                    })
                })
        })
    }

    fn activate_names(&mut self, names: &FxHashSet<PredicateId>) {
        let predicates = &self.predicates;
        let marked: Vec<_> = self
            .cluster
            .pods
            .iter()
            .filter(|(_, pod)| {
                pod.ports.iter().any(|port| {
                    predicates
                        .find_name(port.protocol, &port.name)
                        .is_some_and(|id| names.contains(&id))
                })
            })
            .map(|(pod, _)| pod as PodId)
            .collect();
        for pod in marked {
            self.cluster.mark_pod(pod);
        }
    }
}
