//! One copy of things that objects have in common: a source decodes each object with strings of its
//! own, but a cluster has few different label keys and lists of ports. That saves memory, and the time
//! to fetch it.
//!
//! Invariant: a thing is in a pool while somebody who took it has not given it back.

use std::{hash::Hash, sync::Arc};

use rustc_hash::FxHashMap;

use crate::model::{ContainerPort, Labels};

/// Things, with the number of their uses.
#[derive(Debug)]
struct Pool<T: ?Sized>(FxHashMap<Arc<T>, usize>);

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Self {
        Self(FxHashMap::default())
    }
}

impl<T: ?Sized + Eq + Hash> Pool<T> {
    fn take(&mut self, thing: Arc<T>) -> Arc<T> {
        let entry = self.0.entry(thing);
        let shared = entry.key().clone();
        *entry.or_default() += 1;
        shared
    }

    fn give_back(&mut self, thing: &Arc<T>) {
        if let Some(uses) = self.0.get_mut(thing) {
            *uses -= 1;
            if *uses == 0 {
                self.0.remove(thing);
            }
        }
    }
}

/// What labels and ports of pods and namespaces are made of.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    /// Keys of labels. Values are more, and many of them are one pod's alone.
    keys: Pool<str>,
    ports: Pool<[ContainerPort]>,
}

impl Pools {
    /// The same labels, with the keys of the pool.
    pub(crate) fn take_labels(&mut self, labels: Labels) -> Labels {
        let labels = labels.into_iter();
        labels
            .map(|(key, value)| (self.keys.take(key), value))
            .collect()
    }

    /// The labels, which [`Pools::take_labels`] gave, are not used any more.
    pub(crate) fn give_back_labels(&mut self, labels: &Labels) {
        labels.keys().for_each(|key| self.keys.give_back(key));
    }

    /// The same ports, from the pool.
    pub(crate) fn take_ports(&mut self, ports: Arc<[ContainerPort]>) -> Arc<[ContainerPort]> {
        self.ports.take(ports)
    }

    /// One use of the ports, which [`Pools::take_ports`] gave, is over.
    pub(crate) fn give_back_ports(&mut self, ports: &Arc<[ContainerPort]>) {
        self.ports.give_back(ports);
    }
}
