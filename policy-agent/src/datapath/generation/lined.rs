//! ADDRESSES and RULES: lines that are written word by word, and tries for what has no room there.
//!
//! Owns how many lines a table has. Where in them a key stands is decided in `policy_ebpf::lines`.

use std::hash::Hash;

use aya::{
    Ebpf,
    maps::{Map, MapError},
};
use policy_ebpf::lines::{
    Key,
    table::{Refused, Spill, Table},
};

use super::super::kernel::{
    abi::{Abi, Trie, prefix},
    element::gone,
    lines::SharedLines,
    part::{PartError, open_untyped},
};

/// A table of lines in the kernel, and its only writer.
pub(super) struct Lined<K: Key + bytemuck::Pod>
where
    K::Value: bytemuck::Pod,
{
    table: Table<K, SharedLines, Whole<K>>,
    most: u32,
}

/// A trie of whole keys.
struct Whole<K: Key>(Trie<K, K::Value>)
where
    K: bytemuck::Pod,
    K::Value: bytemuck::Pod;

impl<K> Lined<K>
where
    K: Key + Hash + bytemuck::Pod,
    K::Value: bytemuck::Pod,
{
    /// Opens the maps of a loaded object.
    pub(super) fn of(
        ebpf: &Ebpf,
        lines: &'static str,
        spill: &'static str,
    ) -> Result<Self, PartError> {
        let failed = |source| PartError::Map {
            name: spill,
            source,
        };
        let map = open_untyped(ebpf, spill)?;
        let most = match &map {
            Map::LpmTrie(data) => data.info().map_err(failed)?.max_entries(),
            _ => 0,
        };
        let spill = Whole(map.try_into().map_err(failed)?);
        let lines = SharedLines::of(ebpf, lines)?;
        Ok(Self {
            table: Table::new(lines, spill, most as usize),
            most,
        })
    }

    /// Writes what is said of a key; `wait` waits for a grace period, which almost never is needed.
    pub(super) fn put(
        &mut self,
        key: K,
        value: K::Value,
        wait: impl FnOnce() -> Result<(), MapError>,
    ) -> Result<(), MapError> {
        self.table
            .put(key, value, wait)
            .map_err(|refused| match refused {
                Refused::Full => MapError::OutOfBounds {
                    index: self.most,
                    max_entries: self.most,
                },
                Refused::Error(error) => error,
            })
    }

    /// Removes what is said of a key.
    pub(super) fn remove(&mut self, key: &K) -> Result<(), MapError> {
        self.table.remove(key)
    }

    /// A grace period is over that began after the last removal.
    pub(super) fn forget_left(&mut self) {
        self.table.forget_left();
    }
}

impl<K> Spill<K> for Whole<K>
where
    K: Key + bytemuck::Pod,
    K::Value: bytemuck::Pod,
{
    type Error = MapError;

    fn put(&mut self, key: &K, value: K::Value) -> Result<(), MapError> {
        self.0.insert(&prefix(Self::BITS, *key), Abi(value), 0)
    }

    fn remove(&mut self, key: &K) -> Result<(), MapError> {
        gone(self.0.remove(&prefix(Self::BITS, *key)))
    }
}

impl<K> Whole<K>
where
    K: Key + bytemuck::Pod,
    K::Value: bytemuck::Pod,
{
    const BITS: u32 = 8 * size_of::<K>() as u32;
}
