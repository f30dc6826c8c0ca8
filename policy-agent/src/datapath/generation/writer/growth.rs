//! From tables that are full to larger ones of another generation.
//!
//! Invariant: the generation after goes on with the epochs of the one before, so that no flow looks
//! newer than it is to either.

use std::collections::BTreeSet;

use policy_core::plan::{Short, Table};

use super::TableWriter;
use crate::datapath::generation::sizes::TableSizes;

impl TableWriter {
    /// The sizes with which all that was wanted last has room, or as much of it as `limit` bytes
    /// allow; `None` while it has room, and where more is not allowed.
    pub fn grown(&self, limit: u64) -> Option<TableSizes> {
        if self.is_exact || self.refused.is_some() {
            return None;
        }
        let short = self.short.iter().map(|short| match short {
            Short::Rules { table, .. } | Short::Addresses { table, .. } => *table,
        });
        let full: BTreeSet<Table> = short.chain(self.packed).collect();
        let full: Vec<_> = full.into_iter().collect();
        self.sizes.grown(&full, self.needed.as_ref()?, limit)
    }

    /// Goes on where the writer of the generation before ends.
    pub fn succeed(&mut self, before: &Self) {
        self.node.epoch = self.node.epoch.max(before.node.epoch);
    }
}
