//! Two flow tables for as long as two generations of the programs run.
//!
//! A generation whose flow table has another size gets a new one, and the links move to its programs one
//! by one: until the last has moved, each side of a connection may meet programs of another generation.
//! Owns what a program of the new one reads and writes meanwhile. Invariants: what a program of either
//! generation wrote, a program of the other finds; while both run, the table before is the truth, because
//! its own programs write no other; nothing is allowed by an entry that is in neither table.

use core::marker::PhantomData;

use policy_common::Flow;

use crate::lookup::Full;

/// One flow table as the kernel has it.
pub trait Table<K> {
    /// A copy of an entry.
    fn get(&self, key: &K) -> Option<Flow>;
    /// A new entry, unless there is one with this key, or no room: whether it was made.
    fn add(&self, key: &K, flow: &Flow) -> bool;
    /// A new entry; replaces one with the same key.
    ///
    /// # Errors
    /// There is no room.
    fn replace(&self, key: &K, flow: &Flow) -> Result<(), Full>;
    /// Replaces the entry if there is one: whether there was.
    fn update(&self, key: &K, flow: &Flow) -> bool;
    /// Whether there was an entry.
    fn remove(&self, key: &K) -> bool;
}

/// The flow table of this generation and, while `carries`, that of the one before.
pub struct Carried<K, Now, Before> {
    /// This generation's.
    pub now: Now,
    /// That of the generation before.
    pub before: Before,
    /// Programs of the generation before may still run.
    pub carries: bool,
    /// The keys of both.
    pub key: PhantomData<K>,
}

impl<K, Now: Table<K>, Before: Table<K>> Carried<K, Now, Before> {
    /// A copy of an entry.
    #[inline(always)]
    pub fn get(&self, key: &K) -> Option<Flow> {
        if self.carries
            && let Some(flow) = self.before.get(key)
        {
            return Some(flow);
        }
        self.now.get(key)
    }

    /// A new entry, unless either table has one with this key, or this one no room: whether it was made.
    #[inline(always)]
    pub fn add(&self, key: &K, flow: &Flow) -> bool {
        if self.carries && self.before.get(key).is_some() {
            return false;
        }
        let is_made = self.now.add(key, flow);
        if is_made && self.carries {
            // Where it has no room, its programs judge what they see of the connection by the rules.
            let _ = self.before.add(key, flow);
        }
        is_made
    }

    /// A new entry in both.
    ///
    /// # Errors
    /// This generation's table has no room. That of the one before may have none.
    #[inline(always)]
    pub fn replace(&self, key: &K, flow: &Flow) -> Result<(), Full> {
        if self.carries {
            let _ = self.before.replace(key, flow);
        }
        self.now.replace(key, flow)
    }

    /// Replaces the entry where there is one.
    #[inline(always)]
    pub fn update(&self, key: &K, flow: &Flow) {
        if self.carries && self.before.update(key, flow) {
            // What only the table before had so far is in this one from now on.
            let _ = self.now.replace(key, flow);
            return;
        }
        self.now.update(key, flow);
    }

    /// Removes the entry from both: whether there was one.
    #[inline(always)]
    pub fn remove(&self, key: &K) -> bool {
        let was_before = self.carries && self.before.remove(key);
        self.now.remove(key) || was_before
    }
}
