//! The pods of one namespace by label, so that a new term is compared with few of them.
//!
//! The labels are indexed when a term first asks: most namespaces of a cluster never matter to a
//! node. Invariant: from then on a pod stands under each of the labels that it was inserted with.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use slab::Slab;

use super::{cluster::PodId, term::pivot};
use crate::model::{Labels, PodFact, Requirement, Selector};

/// Pods by label key and value.
type ByLabel = FxHashMap<Arc<str>, FxHashMap<Arc<str>, Vec<PodId>>>;

/// The pods of one namespace.
#[derive(Debug, Default)]
pub(super) struct PodIndex {
    pods: FxHashSet<PodId>,
    labels: Option<ByLabel>,
}

fn list(index: &mut ByLabel, pod: PodId, labels: &Labels) {
    for (key, value) in labels {
        let values = index.entry(key.clone()).or_default();
        values.entry(value.clone()).or_default().push(pod);
    }
}

impl PodIndex {
    pub(super) fn insert(&mut self, pod: PodId, labels: &Labels) {
        self.pods.insert(pod);
        if let Some(index) = &mut self.labels {
            list(index, pod, labels);
        }
    }

    /// Removes a pod that was inserted with these labels.
    pub(super) fn remove(&mut self, pod: PodId, labels: &Labels) {
        self.pods.remove(&pod);
        let Some(index) = &mut self.labels else {
            return;
        };
        for (key, value) in labels {
            let Some(values) = index.get_mut(key) else {
                continue;
            };
            if let Some(pods) = values.get_mut(value) {
                if let Some(at) = pods.iter().position(|&other| other == pod) {
                    pods.swap_remove(at);
                }
                if pods.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                index.remove(key);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = PodId> {
        self.pods.iter().copied()
    }

    /// Calls `each` for the pods that the selector may match, at least for those that it matches.
    pub(super) fn candidates(
        &mut self,
        selector: &Selector,
        facts: &Slab<PodFact>,
        mut each: impl FnMut(PodId),
    ) {
        let pods = &self.pods;
        let Some(pivot) = pivot(selector) else {
            pods.iter().for_each(|&pod| each(pod));
            return;
        };
        let index = self.labels.get_or_insert_with(|| {
            let mut index = ByLabel::default();
            for &pod in pods {
                if let Some(fact) = facts.get(pod as usize) {
                    list(&mut index, pod, &fact.labels);
                }
            }
            index
        });
        let values = |key| index.get(key).into_iter();
        match pivot {
            Requirement::In(key, wanted) => values(key)
                .flat_map(|values| wanted.iter().filter_map(|value| values.get(value)))
                .flatten()
                .for_each(|&pod| each(pod)),
            Requirement::Exists(key) => values(key)
                .flat_map(FxHashMap::values)
                .flatten()
                .for_each(|&pod| each(pod)),
            _ => pods.iter().for_each(|&pod| each(pod)),
        }
    }
}
