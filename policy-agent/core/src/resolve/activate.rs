//! Activation: which addresses a new predicate may concern.
//!
//! Invariant: every address for which a predicate of a new ruleset holds is marked.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    Resolver,
    cluster::PodId,
    predicate::{Predicate, PredicateId, Scope, Term},
};
use crate::model::{IpBlock, PodFact, Protocol};

/// With more new terms than this in a namespace, its pods are evaluated without asking first
/// whether one of them matches.
const FEW_TERMS: usize = 8;

/// A new port name in use for everybody (`None`) or for the addresses of a block.
struct FreshName {
    block: Option<Arc<Predicate>>,
    protocol: Protocol,
    name: Arc<str>,
}

impl FreshName {
    fn concerns(&self, pod: &PodFact) -> bool {
        let declares = pod
            .ports
            .iter()
            .any(|port| port.protocol == self.protocol && port.name == self.name);
        declares
            && match self.block.as_deref() {
                Some(Predicate::Block(IpBlock { cidr, .. })) => {
                    pod.addresses.iter().any(|address| cidr.contains(address))
                }
                _ => true,
            }
    }
}

impl Resolver {
    /// Makes the predicates known for which new rulesets ask, and marks the addresses for which
    /// they may hold.
    pub(super) fn activate(&mut self) {
        let mut terms: FxHashSet<PredicateId> = FxHashSet::default();
        let mut names: Vec<FreshName> = Vec::new();
        for id in self.predicates.take_fresh() {
            if !self.predicates.is_asked_for(id) {
                self.predicates.remove(id);
                continue;
            }
            let Some(predicate) = self.predicates.get(id).cloned() else {
                continue;
            };
            match predicate.as_ref() {
                Predicate::Term(term) => {
                    self.insert_term(id, term);
                    terms.insert(id);
                }
                Predicate::Block(block) => self.blocks.insert(id, block),
                Predicate::Name(peer, protocol, name) => {
                    let peer = peer.and_then(|peer| Some((peer, self.predicates.get(peer)?)));
                    match peer {
                        Some((id, peer)) if matches!(**peer, Predicate::Term(_)) => {
                            terms.insert(id);
                        }
                        peer => names.push(FreshName {
                            block: peer.map(|(_, peer)| peer.clone()),
                            protocol: *protocol,
                            name: name.clone(),
                        }),
                    }
                }
                Predicate::Number(..) => {}
            }
        }
        if self.cluster.is_all_marked() {
            return;
        }
        if !terms.is_empty() {
            self.mark_terms(&terms);
        }
        if !names.is_empty() {
            self.mark_names(&names);
        }
    }

    fn insert_term(&mut self, id: PredicateId, term: &Term) {
        if let Some(scope) = self.scopes.insert(id, term)
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

    fn mark_terms(&mut self, terms: &FxHashSet<PredicateId>) {
        let mut by_namespace: FxHashMap<Arc<str>, Vec<PredicateId>> = FxHashMap::default();
        let mut by_scope: FxHashMap<_, Vec<PredicateId>> = FxHashMap::default();
        for &id in terms {
            let Some(Predicate::Term(term)) = self.predicates.get(id).map(Arc::as_ref) else {
                continue;
            };
            match &term.scope {
                Scope::Namespace(name) => by_namespace.entry(name.clone()).or_default().push(id),
                scope => by_scope
                    .entry(self.scopes.find(scope))
                    .or_default()
                    .push(id),
            }
        }
        if !by_scope.is_empty() {
            for (name, namespace) in &self.cluster.namespaces {
                for &scope in &namespace.scopes {
                    if let Some(ids) = by_scope.get(&Some(scope)) {
                        by_namespace.entry(name.clone()).or_default().extend(ids);
                    }
                }
            }
        }
        let mut marked = Vec::new();
        for (name, ids) in by_namespace {
            let pods = &self.cluster.pods;
            let Some(namespace) = self.cluster.namespaces.get_mut(&name) else {
                continue;
            };
            if ids.len() > FEW_TERMS {
                marked.extend(namespace.pods.iter());
                continue;
            }
            for selector in ids.iter().filter_map(|&id| self.predicates.pods(id)) {
                namespace.pods.candidates(selector, pods, |id| {
                    let pod = pods.get(id as usize);
                    if pod.is_some_and(|pod| selector.matches(&pod.labels)) {
                        marked.push(id);
                    }
                });
            }
        }
        for pod in marked {
            self.cluster.mark_pod(pod);
        }
    }

    fn mark_names(&mut self, names: &[FreshName]) {
        let pods = self.cluster.pods.iter();
        let marked: Vec<PodId> = pods
            .filter(|(_, pod)| names.iter().any(|name| name.concerns(pod)))
            .map(|(pod, _)| pod as PodId)
            .collect();
        for pod in marked {
            self.cluster.mark_pod(pod);
        }
    }
}
