//! A table of lines in memory.

use std::{collections::HashMap, fmt, hash::Hash, vec, vec::Vec};

use crate::lines::{
    self, Found, Key, WORDS,
    table::{Refused, Spill, Table, keys},
};

/// So few lines that some are full in the smallest world.
const LINES: usize = 3;

/// A table of few lines. Read as programs read it; nobody reads while it is written.
#[derive(Clone, Debug)]
pub struct Lined<K: Key> {
    table: Table<K, Vec<[u64; WORDS]>, HashMap<K, K::Value>>,
}

impl<K: Key + Hash + fmt::Debug> Lined<K> {
    /// What the table says of a key.
    pub fn get(&self, key: &K) -> Option<K::Value> {
        let lines = self.table.lines();
        let line = &lines[lines::line_of(key, LINES as u32) as usize];
        match lines::read(key, line) {
            Found::Here(value) => Some(value),
            Found::Nowhere => None,
            Found::Elsewhere => self.table.spill().get(key).copied(),
        }
    }

    /// Writes what is said of a key.
    pub fn insert(&mut self, key: K, value: K::Value) {
        // In memory every write succeeds.
        let _: Result<(), Refused<_>> = self.table.put(key, value, || Ok(()));
        self.table.forget_left();
    }

    /// Removes what is said of a key.
    pub fn remove(&mut self, key: &K) {
        let Ok(()) = self.table.remove(key);
        self.table.forget_left();
    }

    /// All that the table says.
    pub fn entries(&self) -> HashMap<K, K::Value> {
        let in_lines = self.table.lines().iter().flat_map(|line| keys(line));
        let spilled = self.table.spill().iter();
        in_lines
            .chain(spilled.map(|(key, value)| (*key, *value)))
            .collect()
    }
}

impl<K: Key + Hash + fmt::Debug> Default for Lined<K> {
    fn default() -> Self {
        Self {
            table: Table::new(vec![[0; WORDS]; LINES], HashMap::new(), usize::MAX),
        }
    }
}

impl<K> PartialEq for Lined<K>
where
    K: Key + Hash + fmt::Debug,
    K::Value: PartialEq,
{
    fn eq(&self, other: &Self) -> bool {
        self.entries() == other.entries()
    }
}

impl<K: Key + Hash> Spill<K> for HashMap<K, K::Value> {
    type Error = core::convert::Infallible;

    fn put(&mut self, key: &K, value: K::Value) -> Result<(), Self::Error> {
        self.insert(*key, value);
        Ok(())
    }

    fn remove(&mut self, key: &K) -> Result<(), Self::Error> {
        HashMap::remove(self, key);
        Ok(())
    }
}
