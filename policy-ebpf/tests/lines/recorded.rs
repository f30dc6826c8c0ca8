//! Lines and a spill of which every single write is remembered.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use policy_ebpf::lines::{
    WORDS,
    table::{Lines, Spill},
};

use crate::Sample;

/// What a reader may meet at one moment.
pub(crate) struct Moment<K: Sample> {
    pub(crate) line: [u64; WORDS],
    pub(crate) spill: HashMap<K, K::Value>,
    /// What the table says of every key: before or after the write that is going on.
    pub(crate) said: [HashMap<K, K::Value>; 2],
    /// Grace periods so far.
    pub(crate) graces: usize,
}

impl<K: Sample> Clone for Moment<K> {
    fn clone(&self) -> Self {
        Self {
            line: self.line,
            spill: self.spill.clone(),
            said: self.said.clone(),
            graces: self.graces,
        }
    }
}

/// All moments, the last one now. There is one line.
pub(crate) struct History<K: Sample>(Rc<RefCell<Vec<Moment<K>>>>);

impl<K: Sample> Clone for History<K> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<K: Sample> History<K> {
    pub(crate) fn new() -> Self {
        Self(Rc::new(RefCell::new(vec![Moment {
            line: [0; WORDS],
            spill: HashMap::new(),
            said: [HashMap::new(), HashMap::new()],
            graces: 0,
        }])))
    }

    pub(crate) fn step(&self, change: impl FnOnce(&mut Moment<K>)) {
        let mut next = self.0.borrow().last().cloned().unwrap();
        change(&mut next);
        self.0.borrow_mut().push(next);
    }

    pub(crate) fn moments(&self) -> Vec<Moment<K>> {
        self.0.borrow().clone()
    }
}

impl<K: Sample> Lines for History<K> {
    fn count(&self) -> u32 {
        1
    }

    fn line(&self, _: u32) -> [u64; WORDS] {
        self.0.borrow().last().unwrap().line
    }

    fn store(&mut self, _: u32, index: usize, word: u64) {
        self.step(|moment| moment.line[index] = word);
    }
}

impl<K: Sample> Spill<K> for History<K> {
    type Error = ();

    fn put(&mut self, key: &K, value: K::Value) -> Result<(), ()> {
        self.step(|moment| {
            moment.spill.insert(*key, value);
        });
        Ok(())
    }

    fn remove(&mut self, key: &K) -> Result<(), ()> {
        self.step(|moment| {
            moment.spill.remove(key);
        });
        Ok(())
    }
}
