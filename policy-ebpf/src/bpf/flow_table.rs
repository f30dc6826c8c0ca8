//! Flow tables, as programs of one generation or of two read and write them.

use core::marker::PhantomData;

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_EXIST, BPF_NOEXIST},
    btf_maps::HashMap,
};
use policy_common::Flow;
use policy_ebpf::{
    flows::carry::{Carried, Table},
    lookup::Full,
};

use super::globals::{config, control};

/// A flow table.
pub(super) struct FlowTable<K: 'static, const MOST: usize>(&'static HashMap<K, Flow, MOST>);

impl<K, const MOST: usize> Table<K> for FlowTable<K, MOST> {
    #[inline(always)]
    fn get(&self, key: &K) -> Option<Flow> {
        let element = self.0.get_ptr(key)?;
        // SAFETY: a map element stays readable while the program runs; verdict and epoch
        // are one word of it.
        let words = unsafe {
            let words = element.cast::<u64>();
            [
                words.read_volatile(),
                words.add(1).read_volatile(),
                words.add(2).read_volatile(),
                words.add(3).read_volatile(),
            ]
        };
        Some(bytemuck::cast(words))
    }

    #[inline(always)]
    fn add(&self, key: &K, flow: &Flow) -> bool {
        self.0.insert(key, flow, BPF_NOEXIST.into()).is_ok()
    }

    #[inline(always)]
    fn replace(&self, key: &K, flow: &Flow) -> Result<(), Full> {
        self.0.insert(key, flow, BPF_ANY.into()).map_err(|_| Full)
    }

    #[inline(always)]
    fn update(&self, key: &K, flow: &Flow) -> bool {
        // The entry is replaced, never written through a pointer: its memory may hold
        // another flow by now. If it is gone, there is nothing to update.
        self.0.insert(key, flow, BPF_EXIST.into()).is_ok()
    }

    #[inline(always)]
    fn remove(&self, key: &K) -> bool {
        self.0.remove(key).is_ok()
    }
}

/// The flow table, and that of the generation before as long as its programs may run. In almost every
/// generation a constant says that there is none, and nothing of this is left.
#[inline(always)]
pub(super) fn carried<K, const NOW: usize, const BEFORE: usize>(
    now: &'static HashMap<K, Flow, NOW>,
    before: &'static HashMap<K, Flow, BEFORE>,
) -> Carried<K, FlowTable<K, NOW>, FlowTable<K, BEFORE>> {
    Carried {
        now: FlowTable(now),
        before: FlowTable(before),
        carries: config!(has_previous_flows) != 0 && control!(carries) != 0,
        key: PhantomData,
    }
}
