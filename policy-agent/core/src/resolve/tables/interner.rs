//! What is equal is stored once, under a number of one of the kernel's tables.
//!
//! Knows nothing of what the keys mean. Invariants: a key has one number and a number one key; a
//! row that nobody uses any more keeps its number until [`Interner::remove`], so that no running
//! program finds another's row under it.

use std::{borrow::Borrow, collections::BTreeSet, hash::Hash, mem, sync::Arc};

use policy_common::{IdentityId, PortSetId, RulesetId};
use rustc_hash::FxHashMap;

use super::numbers::Numbers;

/// A number of one of the kernel's tables.
pub(crate) trait Number: Copy + Ord {
    /// The first one that is not reserved.
    const FIRST: u32;

    /// From the bare number.
    fn new(number: u32) -> Self;

    /// The bare number.
    fn bare(self) -> u32;
}

macro_rules! numbers {
    ($($id:ty),*) => {$(
        impl Number for $id {
            const FIRST: u32 = <$id>::FIRST.0;

            fn new(number: u32) -> Self {
                Self(number)
            }

            fn bare(self) -> u32 {
                self.0
            }
        }
    )*};
}

numbers!(IdentityId, RulesetId, PortSetId);

/// What stands under one number.
#[derive(Debug)]
pub(crate) struct Row<K: ?Sized, V> {
    pub(crate) key: Arc<K>,
    pub(crate) value: V,
    uses: usize,
}

/// Keys with their numbers and values. Reserved numbers have no rows.
#[derive(Debug)]
pub(crate) struct Interner<K: ?Sized, I, V> {
    ids: FxHashMap<Arc<K>, I>,
    /// By number, from the first one that is not reserved. Numbers are dense.
    rows: Vec<Option<Row<K, V>>>,
    numbers: Numbers,
    fresh: Vec<I>,
    /// Without uses.
    idle: BTreeSet<I>,
}

fn place<I: Number>(id: I) -> Option<usize> {
    Some(id.bare().checked_sub(I::FIRST)? as usize)
}

impl<K: ?Sized + Eq + Hash, I: Number, V> Interner<K, I, V> {
    pub(crate) fn new() -> Self {
        Self {
            ids: FxHashMap::default(),
            rows: Vec::new(),
            numbers: Numbers::from(I::FIRST),
            fresh: Vec::new(),
            idle: BTreeSet::new(),
        }
    }

    /// The number of a key.
    pub(crate) fn find<Q: ?Sized + Eq + Hash>(&self, key: &Q) -> Option<I>
    where
        Arc<K>: Borrow<Q>,
    {
        self.ids.get(key).copied()
    }

    /// Gives a key that has none the smallest free number. The row is [fresh](Self::take_fresh) and
    /// has no uses.
    pub(crate) fn insert(&mut self, key: Arc<K>, value: V) -> I {
        let id = I::new(self.numbers.take());
        let row = Row {
            key: key.clone(),
            value,
            uses: 0,
        };
        let place = place(id).unwrap_or_default();
        if self.rows.len() <= place {
            self.rows.resize_with(place + 1, || None);
        }
        self.rows[place] = Some(row);
        self.ids.insert(key, id);
        self.fresh.push(id);
        self.idle.insert(id);
        id
    }

    /// Gives a number another key, unless that has a number already; returns whether it did.
    pub(crate) fn rekey(&mut self, id: I, key: Arc<K>) -> bool {
        if self.ids.contains_key(&key) {
            return false;
        }
        let Some(row) = self.row_mut(id) else {
            return false;
        };
        let before = mem::replace(&mut row.key, key.clone());
        self.ids.remove(&before);
        self.ids.insert(key, id);
        true
    }

    pub(crate) fn row(&self, id: I) -> Option<&Row<K, V>> {
        self.rows.get(place(id)?)?.as_ref()
    }

    pub(crate) fn row_mut(&mut self, id: I) -> Option<&mut Row<K, V>> {
        self.rows.get_mut(place(id)?)?.as_mut()
    }

    /// How many use it.
    pub(crate) fn uses(&self, id: I) -> usize {
        self.row(id).map_or(0, |row| row.uses)
    }

    /// So many uses more.
    pub(crate) fn hold(&mut self, id: I, uses: usize) {
        if let Some(row) = self.row_mut(id) {
            let was_idle = row.uses == 0;
            row.uses += uses;
            if was_idle && uses > 0 {
                self.idle.remove(&id);
            }
        }
    }

    /// So many uses less.
    pub(crate) fn release(&mut self, id: I, uses: usize) {
        if let Some(row) = self.row_mut(id) {
            row.uses -= uses;
            if row.uses == 0 {
                self.idle.insert(id);
            }
        }
    }

    /// The numbers given since the last call, in order of their making.
    pub(crate) fn take_fresh(&mut self) -> Vec<I> {
        mem::take(&mut self.fresh)
    }

    /// Takes the list of rows without uses that are not `held`; each must be
    /// [removed](Self::remove).
    pub(crate) fn take_idle(&mut self, held: &BTreeSet<I>) -> BTreeSet<I> {
        let held = self.idle.intersection(held).copied().collect();
        let mut taken = mem::replace(&mut self.idle, held);
        taken.retain(|id| !self.idle.contains(id));
        taken
    }

    /// How many rows have no uses.
    pub(crate) fn count_idle(&self) -> usize {
        self.idle.len()
    }

    /// Removes a row and frees its number.
    pub(crate) fn remove(&mut self, id: I) -> Option<Row<K, V>> {
        let row = self.rows.get_mut(place(id)?)?.take()?;
        while self.rows.pop_if(|row| row.is_none()).is_some() {}
        self.ids.remove(&row.key);
        self.idle.remove(&id);
        self.numbers.give_back(id.bare());
        Some(row)
    }

    /// Every row, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (I, &Row<K, V>)> {
        let rows = (I::FIRST..).zip(&self.rows);
        rows.filter_map(|(number, row)| Some((I::new(number), row.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interner() -> Interner<str, RulesetId, char> {
        Interner::new()
    }

    #[test]
    fn a_removed_number_is_given_again_and_finds_only_its_new_key() {
        let mut rows = interner();
        let (one, two) = (
            rows.insert("one".into(), '1'),
            rows.insert("two".into(), '2'),
        );
        assert_eq!((one, two), (RulesetId(1), RulesetId(2)));
        assert_eq!(rows.remove(one).map(|row| row.value), Some('1'));
        assert_eq!(rows.find("one"), None);
        assert_eq!(rows.insert("three".into(), '3'), one);
        assert_eq!(rows.find("three"), Some(one));
        assert_eq!(rows.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_row_is_idle_while_nobody_uses_it() {
        let mut rows = interner();
        let id = rows.insert("one".into(), '1');
        assert_eq!(rows.count_idle(), 1);
        rows.hold(id, 2);
        rows.release(id, 1);
        assert_eq!((rows.count_idle(), rows.uses(id)), (0, 1));
        rows.release(id, 1);
        assert_eq!(rows.take_idle(&BTreeSet::new()), [id].into());
    }

    #[test]
    fn a_number_takes_another_key_unless_that_has_one() {
        let mut rows = interner();
        let (one, two) = (
            rows.insert("one".into(), '1'),
            rows.insert("two".into(), '2'),
        );
        assert!(!rows.rekey(one, "two".into()));
        assert_eq!(rows.find("one"), Some(one));
        assert!(rows.rekey(one, "uno".into()));
        assert_eq!((rows.find("one"), rows.find("uno")), (None, Some(one)));
        assert_eq!(rows.find("two"), Some(two));
    }

    #[test]
    fn a_reserved_number_has_no_row_and_no_uses() {
        let mut rows = interner();
        rows.hold(RulesetId::NONE, 1);
        rows.release(RulesetId::NONE, 1);
        assert!(rows.row(RulesetId::NONE).is_none());
        assert!(rows.remove(RulesetId::NONE).is_none());
        assert_eq!(rows.count_idle(), 0);
    }
}
