//! One copy of every string that labels are made of: a source decodes each object with strings of
//! its own, but a cluster has few keys and not many values.
//!
//! Invariant: a string is in the pool only while labels that it shared have it.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::model::Labels;

/// The strings, with the number of labels in which each is.
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

    fn take(&mut self, text: Arc<str>) -> Arc<str> {
        let entry = self.0.entry(text);
        let shared = entry.key().clone();
        *entry.or_default() += 1;
        shared
    }

    /// The labels, which [`Pool::share`] gave, are not used any more.
    pub(super) fn give_back(&mut self, labels: &Labels) {
        for text in labels.iter().flat_map(|(key, value)| [key, value]) {
            if let Some(uses) = self.0.get_mut(text) {
                *uses -= 1;
                if *uses == 0 {
                    self.0.remove(text);
                }
            }
        }
    }
}
