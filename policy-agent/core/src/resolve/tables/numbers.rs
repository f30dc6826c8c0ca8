//! Numbers for the kernel's tables: the smallest free one first, so that they stay dense.
//!
//! Invariant: a number is given back only when no table and no running program can still hold it
//! (the end of `collect`).

use std::collections::BTreeSet;

/// Free and used numbers of one table.
#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    next: u32,
    free: BTreeSet<u32>,
}

impl Numbers {
    /// All numbers from `first` on are free.
    pub(crate) fn from(first: u32) -> Self {
        Self {
            next: first,
            free: BTreeSet::new(),
        }
    }

    /// Takes the smallest free number.
    pub(crate) fn take(&mut self) -> u32 {
        self.free.pop_first().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Gives a number back.
    pub(crate) fn give_back(&mut self, number: u32) {
        self.free.insert(number);
        while self.next > 0 && self.free.remove(&(self.next - 1)) {
            self.next -= 1;
        }
    }
}
