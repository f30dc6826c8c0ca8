//! What earlier decisions leave behind: interfaces that an earlier run decided, and pods whose
//! interface is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use rustc_hash::FxHashMap;

use crate::model::{ObjectName, pod_tag};

/// So many addresses of a pod or an interface are remembered for a later run.
pub const MOST_ADDRESSES: usize = 4;

/// What an earlier run decided of an interface, read back from the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The interface.
    pub ifindex: u32,
    /// [`pod_tag`] of its pod.
    pub tag: u64,
    /// The pod's recorded addresses.
    pub addresses: Vec<IpAddr>,
}

/// The decisions of an earlier run that are not carried over yet.
#[derive(Debug, Default)]
pub(super) struct Pins {
    pins: BTreeMap<u32, Pin>,
    /// The interfaces of each tag, seen or not.
    tags: FxHashMap<u64, BTreeSet<u32>>,
    /// The pods of this node that have one of the tags.
    pods: FxHashMap<u64, BTreeSet<ObjectName>>,
}

impl Pins {
    pub(super) fn new(pins: impl IntoIterator<Item = Pin>) -> Self {
        let mut known = Self::default();
        for pin in pins {
            known.tags.entry(pin.tag).or_default().insert(pin.ifindex);
            known.pins.insert(pin.ifindex, pin);
        }
        known
    }

    pub(super) fn get(&self, ifindex: u32) -> Option<&Pin> {
        self.pins.get(&ifindex)
    }

    /// Whether an interface was decided for the pod of this tag.
    pub(super) fn has(&self, tag: u64) -> bool {
        self.tags.contains_key(&tag)
    }

    /// The interface is decided anew, or gone.
    pub(super) fn remove(&mut self, ifindex: u32) -> Option<Pin> {
        let pin = self.pins.remove(&ifindex)?;
        if let Some(interfaces) = self.tags.get_mut(&pin.tag) {
            interfaces.remove(&ifindex);
            if interfaces.is_empty() {
                self.tags.remove(&pin.tag);
            }
        }
        Some(pin)
    }

    /// A pod exists; returns the interfaces that are its.
    pub(super) fn pod(&mut self, name: &ObjectName, uid: &str) -> BTreeSet<u32> {
        if self.tags.is_empty() {
            return BTreeSet::new();
        }
        let tag = pod_tag(name, uid);
        let Some(interfaces) = self.tags.get(&tag) else {
            return BTreeSet::new();
        };
        self.pods.entry(tag).or_default().insert(name.clone());
        interfaces.clone()
    }

    /// A pod is gone.
    pub(super) fn pod_removed(&mut self, name: &ObjectName, uid: &str) {
        if !self.pods.is_empty()
            && let Some(names) = self.pods.get_mut(&pod_tag(name, uid))
        {
            names.remove(name);
        }
    }

    /// The one pod that has the tag. Two are none: tags can be made to agree.
    pub(super) fn pod_of(&self, tag: u64) -> Option<&ObjectName> {
        let mut names = self.pods.get(&tag)?.iter();
        names.next().filter(|_| names.next().is_none())
    }

    /// Whether another interface was decided for the pod.
    pub(super) fn is_elsewhere(&self, ifindex: u32, name: &ObjectName, uid: &str) -> bool {
        if self.tags.is_empty() {
            return false;
        }
        let interfaces = self.tags.get(&pod_tag(name, uid)).into_iter().flatten();
        interfaces.into_iter().any(|other| *other != ifindex)
    }
}

/// Pods whose interface is gone, and the addresses that they had then, in order.
#[derive(Debug, Default)]
pub(super) struct Spent(FxHashMap<u64, Vec<IpAddr>>);

impl Spent {
    /// The interface of the pod with this tag and these addresses is gone.
    pub(super) fn insert(&mut self, tag: u64, addresses: &[IpAddr]) {
        self.0.insert(tag, sorted(addresses));
    }

    /// The pod is gone.
    pub(super) fn remove(&mut self, tag: u64) {
        self.0.remove(&tag);
    }

    pub(super) fn has(&self, tag: u64) -> bool {
        self.0.contains_key(&tag)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &[IpAddr])> {
        self.0.iter().map(|(tag, then)| (*tag, then.as_slice()))
    }

    /// Whether the pod still is what it was when its interface went. Without a UID, one object may
    /// stand for a pod after another.
    pub(super) fn contains(&self, name: &ObjectName, uid: &str, addresses: &[IpAddr]) -> bool {
        if self.0.is_empty() || uid.is_empty() {
            return false;
        }
        let then = self.0.get(&pod_tag(name, uid));
        then.is_some_and(|then| *then == sorted(addresses))
    }
}

/// In order, and no more of them than a later run is told.
fn sorted(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut sorted = addresses.to_vec();
    sorted.sort_unstable();
    sorted.truncate(MOST_ADDRESSES);
    sorted
}
