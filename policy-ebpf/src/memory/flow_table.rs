//! Flow tables in memory, of one generation or of two.

use std::{cell::RefCell, collections::HashMap, hash::Hash, marker::PhantomData};

use policy_common::Flow;

use super::MemoryWorld;
use crate::{
    flows::carry::{Carried, Table},
    lookup::Full,
};

/// A flow table and the number of its elements.
pub(super) struct FlowTable<'a, K> {
    flows: &'a RefCell<HashMap<K, Flow>>,
    most: usize,
}

impl<K: Copy + Eq + Hash> Table<K> for FlowTable<'_, K> {
    fn get(&self, key: &K) -> Option<Flow> {
        self.flows.borrow().get(key).copied()
    }

    fn add(&self, key: &K, flow: &Flow) -> bool {
        !self.flows.borrow().contains_key(key) && self.replace(key, flow).is_ok()
    }

    fn replace(&self, key: &K, flow: &Flow) -> Result<(), Full> {
        let mut flows = self.flows.borrow_mut();
        if flows.len() >= self.most && !flows.contains_key(key) {
            return Err(Full);
        }
        flows.insert(*key, *flow);
        Ok(())
    }

    fn update(&self, key: &K, flow: &Flow) -> bool {
        let mut flows = self.flows.borrow_mut();
        flows.get_mut(key).map(|entry| *entry = *flow).is_some()
    }

    fn remove(&self, key: &K) -> bool {
        self.flows.borrow_mut().remove(key).is_some()
    }
}

impl MemoryWorld {
    pub(super) fn carried<'a, K>(
        &self,
        now: &'a RefCell<HashMap<K, Flow>>,
        before: &'a RefCell<HashMap<K, Flow>>,
    ) -> Carried<K, FlowTable<'a, K>, FlowTable<'a, K>> {
        Carried {
            now: FlowTable {
                flows: now,
                most: self.max_flows,
            },
            before: FlowTable {
                flows: before,
                most: self.max_previous_flows,
            },
            carries: self.carries.get(),
            key: PhantomData,
        }
    }
}
