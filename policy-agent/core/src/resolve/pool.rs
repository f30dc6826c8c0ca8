//! One copy of every string of labels and port names: a source decodes each object with strings of
//! its own, but a cluster has few different ones.
//!
//! Invariant: a string is in the pool while somebody who took it has not given it back.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::model::Labels;

/// The strings, with the number of their uses.
#[derive(Debug, Default)]
pub(super) struct Pool(FxHashMap<Arc<str>, usize>);

impl Pool {
    /// The same labels, with the strings of the pool.
    pub(super) fn share(&mut self, labels: Labels) -> Labels {
        let labels = labels.into_iter();
        labels
            .map(|(key, value)| (self.take(key), self.take(value)))
            .collect()
    }

    /// The labels, which [`Pool::share`] gave, are not used any more.
    pub(super) fn give_back_labels(&mut self, labels: &Labels) {
        let texts = labels.iter().flat_map(|(key, value)| [key, value]);
        texts.for_each(|text| self.give_back(text));
    }

    /// The same string, from the pool.
    pub(super) fn take(&mut self, text: Arc<str>) -> Arc<str> {
        let entry = self.0.entry(text);
        let shared = entry.key().clone();
        *entry.or_default() += 1;
        shared
    }

    /// One use of a string that [`Pool::take`] gave is over.
    pub(super) fn give_back(&mut self, text: &Arc<str>) {
        if let Some(uses) = self.0.get_mut(text) {
            *uses -= 1;
            if *uses == 0 {
                self.0.remove(text);
            }
        }
    }
}
