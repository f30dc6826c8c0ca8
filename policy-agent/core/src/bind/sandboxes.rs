//! What is remembered of the network namespaces behind interfaces: whose they are.
//!
//! Whoever lives in a namespace can give it further interfaces, with addresses of its choice. Invariant: a
//! namespace is one pod's – the first that an interface into it was decided for – while that pod is known;
//! where pods have UIDs, for as long as that interface is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use rustc_hash::FxHashMap;

use super::{
    Binder,
    binder::{Interface, State},
};
use crate::model::{ObjectName, pod_tag};

/// What is known of namespaces.
#[derive(Debug, Default)]
pub(super) struct Sandboxes {
    /// Tags of the pods whose they are.
    owners: FxHashMap<Arc<str>, u64>,
    owned: FxHashMap<u64, BTreeSet<Arc<str>>>,
    inside: FxHashMap<Arc<str>, BTreeSet<u32>>,
    /// How many known pods have a tag.
    tags: FxHashMap<u64, usize>,
    /// What interfaces had first, as an earlier run saw it.
    first: BTreeMap<u32, Vec<IpAddr>>,
    /// Nobody knows any more what these had first.
    unremembered: BTreeSet<u32>,
    /// What an earlier run remembered cannot be read.
    is_memory_lost: bool,
}

impl Sandboxes {
    pub(super) fn enter(&mut self, ifindex: u32, interface: &Interface) {
        if let Some(netns) = &interface.fact.netns {
            let inside = self.inside.entry(Arc::clone(netns)).or_default();
            inside.insert(ifindex);
        }
    }

    pub(super) fn leave(&mut self, ifindex: u32, interface: &Interface) {
        if let Some(netns) = &interface.fact.netns
            && let Some(inside) = self.inside.get_mut(netns)
        {
            inside.remove(&ifindex);
            if inside.is_empty() {
                self.inside.remove(netns);
            }
        }
    }

    pub(super) fn pod(&mut self, tag: u64) {
        *self.tags.entry(tag).or_default() += 1;
    }

    pub(super) fn pod_removed(&mut self, tag: u64) {
        if let Some(count) = self.tags.get_mut(&tag) {
            *count -= 1;
            if *count == 0 {
                self.tags.remove(&tag);
            }
        }
    }

    pub(super) fn is_known(&self, tag: u64) -> bool {
        self.tags.contains_key(&tag)
    }

    pub(super) fn first(&mut self, ifindex: u32) -> Option<Vec<IpAddr>> {
        self.first.remove(&ifindex)
    }

    pub(super) fn is_unremembered(&self, ifindex: u32) -> bool {
        self.unremembered.contains(&ifindex)
    }

    pub(super) fn gone(&mut self, ifindex: u32) {
        self.first.remove(&ifindex);
        self.unremembered.remove(&ifindex);
    }

    fn owner(&self, netns: Option<&Arc<str>>) -> Option<u64> {
        self.owners.get(netns?).copied()
    }

    fn interfaces(&self, netns: &Arc<str>) -> impl Iterator<Item = u32> {
        self.inside.get(netns).into_iter().flatten().copied()
    }

    fn give(&mut self, netns: &Arc<str>, tag: u64) {
        self.take(netns);
        self.owners.insert(Arc::clone(netns), tag);
        self.owned.entry(tag).or_default().insert(Arc::clone(netns));
    }

    fn take(&mut self, netns: &Arc<str>) {
        if let Some(tag) = self.owners.remove(netns)
            && let Some(owned) = self.owned.get_mut(&tag)
        {
            owned.remove(netns);
            if owned.is_empty() {
                self.owned.remove(&tag);
            }
        }
    }
}

impl Binder {
    /// What an earlier run remembered cannot be read: interfaces that are there at the start and were not
    /// decided by it are nobody's, and pods without one had one. To be said before anything else is.
    pub fn memory_is_lost(&mut self) {
        self.sandboxes.is_memory_lost = true;
    }

    /// An earlier run saw these addresses first behind an interface that still is there.
    pub fn remembered(&mut self, ifindex: u32, addresses: Vec<IpAddr>) {
        self.sandboxes.first.insert(ifindex, addresses);
    }

    /// Nobody knows any more what an interface had first: it is nobody's.
    pub fn unremembered(&mut self, ifindex: u32) {
        self.sandboxes.unremembered.insert(ifindex);
    }

    /// Whether that is so.
    pub fn is_unremembered(&self, ifindex: u32) -> bool {
        self.sandboxes.is_unremembered(ifindex)
    }

    /// A namespace is the pod's of this tag, as an earlier run knew; what this one decided counts more.
    pub fn owned(&mut self, netns: &Arc<str>, tag: u64) {
        if self.sandboxes.owner(Some(netns)).is_none() {
            self.sandboxes.give(netns, tag);
        }
    }

    /// The pod of this tag had an interface with these addresses, which an earlier run saw go.
    pub fn was_spent(&mut self, tag: u64, addresses: &[IpAddr]) {
        self.spent.insert(tag, addresses);
    }

    /// [`pod_tag`] of the pod whose a namespace is; 0 when it is nobody's.
    pub fn owner(&self, netns: &Arc<str>) -> u64 {
        self.sandboxes.owner(Some(netns)).unwrap_or_default()
    }

    /// The namespaces that are of the pod of this tag.
    pub fn sandboxes_of(&self, tag: u64) -> impl Iterator<Item = &Arc<str>> {
        self.sandboxes.owned.get(&tag).into_iter().flatten()
    }

    /// The addresses that count of an interface: those that were seen first.
    pub fn first_addresses(&self, ifindex: u32) -> &[IpAddr] {
        let interface = self.interfaces.get(&ifindex);
        interface.map_or(&[], |interface| interface.fact.addresses.as_slice())
    }

    /// Whether the pod that an interface was decided for runs: all that comes with its sandbox is there.
    pub fn is_running(&self, ifindex: u32) -> bool {
        let pod = self
            .pod_behind(ifindex)
            .and_then(|name| self.pods.get(name));
        pod.is_some_and(|pod| pod.lives)
    }

    /// The known pods whose interface is gone, by tag, with the addresses that they had then.
    pub fn spent(&self) -> impl Iterator<Item = (u64, &[IpAddr])> {
        let spent = self.spent.iter();
        spent.filter(|(tag, _)| self.sandboxes.is_known(*tag))
    }

    /// The pods that run on though their interface is gone, with their tags.
    pub fn without_interface(&self) -> Vec<(ObjectName, u64)> {
        if self.spent.is_empty() {
            return Vec::new();
        }
        let pods = self.pods.iter();
        let tagged = pods.map(|(name, pod)| (name, pod_tag(name, &pod.uid)));
        tagged
            .filter(|(name, tag)| self.spent.has(*tag) && self.is_without_interface(name, *tag))
            .map(|(name, tag)| (name.clone(), tag))
            .collect()
    }

    /// Whether an interface into a namespace may be a pod's.
    pub(super) fn may_be_in(&self, netns: Option<&Arc<str>>, name: &ObjectName) -> bool {
        let Some(owner) = self.sandboxes.owner(netns) else {
            return true;
        };
        let Some(pod) = self.pods.get(name) else {
            return false;
        };
        if owner == pod_tag(name, &pod.uid) {
            return true;
        }
        !(self.sandboxes.is_known(owner) || !pod.uid.is_empty() && self.is_proven(netns, owner))
    }

    /// Whether an interface that was decided for the pod of this tag leads into a namespace.
    fn is_proven(&self, netns: Option<&Arc<str>>, owner: u64) -> bool {
        let inside = netns
            .into_iter()
            .flat_map(|one| self.sandboxes.interfaces(one));
        inside.into_iter().any(|ifindex| self.tag(ifindex) == owner)
    }

    /// An interface was decided for the pod of this tag; returns the interfaces that may be decided
    /// otherwise now.
    pub(super) fn settle_in(&mut self, ifindex: u32, tag: u64) -> BTreeSet<u32> {
        let interface = self.interfaces.get(&ifindex);
        let Some(netns) = interface.and_then(|one| one.fact.netns.clone()) else {
            return BTreeSet::new();
        };
        let mut touched = BTreeSet::new();
        let owner = self.sandboxes.owner(Some(&netns));
        if owner.is_none_or(|owner| owner != tag && !self.sandboxes.is_known(owner)) {
            self.sandboxes.give(&netns, tag);
            touched.extend(self.in_sandbox(&netns));
        }
        // It has another sandbox than it had: what an earlier run remembered of that one is over.
        let others = self.sandboxes_of(tag).filter(|other| **other != netns);
        let others: Vec<_> = others
            .filter(|other| !self.is_proven(Some(other), tag))
            .cloned()
            .collect();
        for other in others {
            self.sandboxes.take(&other);
            touched.extend(self.in_sandbox(&other));
        }
        touched.remove(&ifindex);
        touched
    }

    /// The interfaces into a namespace, and those that could be decided for the same pods.
    fn in_sandbox(&self, netns: &Arc<str>) -> BTreeSet<u32> {
        let mut touched: BTreeSet<u32> = self.sandboxes.interfaces(netns).collect();
        let inside: Vec<u32> = touched.iter().copied().collect();
        for ifindex in inside {
            touched.extend(self.rivals(self.first_addresses(ifindex)));
        }
        touched
    }

    /// An interface is gone, or a pod: forgets whose a namespace is where neither is left. Returns the
    /// interfaces that may be decided otherwise now.
    pub(super) fn leave_sandboxes(&mut self, tag: u64) -> BTreeSet<u32> {
        if tag == 0 || self.sandboxes.is_known(tag) {
            return BTreeSet::new();
        }
        let mut touched = BTreeSet::new();
        let of_it: Vec<_> = self.sandboxes_of(tag).cloned().collect();
        for netns in of_it {
            touched.extend(self.in_sandbox(&netns));
            if self.sandboxes.interfaces(&netns).next().is_none() {
                self.sandboxes.take(&netns);
            }
        }
        touched
    }

    /// Everything of the start is known, and what an earlier run decided stands.
    pub(super) fn begin_sandboxes(&mut self) {
        if !self.sandboxes.is_memory_lost {
            return;
        }
        let open = self.interfaces.iter();
        let open = open.filter(|(_, interface)| matches!(interface.state, State::Open(_)));
        self.sandboxes
            .unremembered
            .extend(open.map(|(ifindex, _)| *ifindex));
        for (name, pod) in &self.pods {
            let tag = pod_tag(name, &pod.uid);
            if !self.pins.has(tag) {
                self.spent.insert(tag, &pod.addresses);
            }
        }
    }
}
