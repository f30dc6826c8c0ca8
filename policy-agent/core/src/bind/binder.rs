//! Keeps what is known of interfaces and pods, and which decisions were taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use rustc_hash::FxHashMap;

use super::{
    BindEvent, BindProblem, InterfaceFact, Pin,
    first::seen,
    pin::{Pins, Spent},
    sandboxes::Sandboxes,
};
use crate::model::{ObjectName, PodFact, pod_tag};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BoundPod {
    pub(super) name: ObjectName,
    pub(super) uid: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not decided yet.
    Open(Option<BindProblem>),
    /// Decided.
    Bound(BoundPod),
    /// Was decided, and the pod is gone.
    Ended(BoundPod),
    /// Was decided by an earlier run, for the pod of this tag.
    Pinned(u64),
}

#[derive(Debug)]
pub(super) struct Interface {
    /// Its addresses are those that were seen first.
    pub(super) fact: InterfaceFact,
    /// Those that were seen later.
    pub(super) later: Vec<IpAddr>,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) struct Pod {
    pub(super) uid: Arc<str>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) unreadable: bool,
    /// It runs, and nobody deletes it.
    pub(super) lives: bool,
}

/// Binds interfaces to pods.
#[derive(Debug, Default)]
pub struct Binder {
    pub(super) interfaces: BTreeMap<u32, Interface>,
    pub(super) pods: FxHashMap<ObjectName, Pod>,
    pub(super) pods_at: FxHashMap<IpAddr, BTreeSet<ObjectName>>,
    behind: FxHashMap<IpAddr, BTreeSet<u32>>,
    /// Interfaces behind which an address was seen after others.
    behind_later: FxHashMap<IpAddr, BTreeSet<u32>>,
    pub(super) bound: FxHashMap<ObjectName, u32>,
    pub(super) pins: Pins,
    pub(super) spent: Spent,
    pub(super) sandboxes: Sandboxes,
    /// The name of this node; empty: pods of every node may be here.
    node: Arc<str>,
    /// Nothing is decided before all pods and interfaces of the start are known.
    pub(super) waiting: bool,
}

impl Binder {
    /// Nothing is known yet; decides at once.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on after an earlier run, on the node of this name (empty: not known). Decides nothing
    /// before [`Self::synced`].
    pub fn resuming(node: Arc<str>, pins: impl IntoIterator<Item = Pin>) -> Self {
        Self {
            pins: Pins::new(pins),
            node,
            waiting: true,
            ..Self::default()
        }
    }

    /// All pods and interfaces that were there at the start are known.
    pub fn synced(&mut self) -> Vec<BindEvent> {
        self.waiting = false;
        self.begin_sandboxes();
        let all = self.interfaces.keys().copied().collect();
        let mut events = self.decide_all(all);
        let left = self.interfaces.iter();
        let left = left.filter(|(_, interface)| matches!(interface.state, State::Pinned(_)));
        events.extend(left.map(|(&ifindex, _)| self.event(ifindex)));
        events
    }

    /// An interface exists like this.
    pub fn interface(&mut self, mut fact: InterfaceFact) -> Vec<BindEvent> {
        let ifindex = fact.ifindex;
        let mut events = Vec::new();
        if let Some(known) = self.interfaces.get_mut(&ifindex) {
            let other = known.fact.netns.is_some()
                && fact.netns.is_some()
                && known.fact.netns != fact.netns;
            if other || !fact.sandbox {
                events = self.interface_removed(ifindex);
            } else if !matches!(known.state, State::Open(_)) {
                fact.addresses = std::mem::take(&mut known.fact.addresses);
                fact.netns = known.fact.netns.take().or(fact.netns);
                known.fact = fact;
                return events;
            }
        }
        if !fact.sandbox {
            return events;
        }
        let mut touched: BTreeSet<u32> = BTreeSet::new();
        let is_new = !self.interfaces.contains_key(&ifindex);
        let (mut later, mut state) = (Vec::new(), State::Open(None));
        if let Some(known) = self.interfaces.remove(&ifindex) {
            touched.extend(self.rivals(&known.fact.addresses));
            touched.extend(self.rivals(&known.later));
            self.unlist(ifindex, &known);
            fact.netns = fact.netns.or(known.fact.netns);
            (fact.addresses, later) = seen(known.fact.addresses, &fact.addresses);
            state = known.state;
        } else if let Some(pin) = self.pins.get(ifindex) {
            fact.addresses.clone_from(&pin.addresses);
            state = State::Pinned(pin.tag);
            if let (Some(netns), tag) = (&fact.netns, pin.tag) {
                self.owned(netns, tag);
            }
        } else if let Some(first) = self.sandboxes.first(ifindex) {
            (fact.addresses, later) = seen(first, &fact.addresses);
        }
        let mut addresses = fact.addresses.clone();
        for &address in &addresses {
            self.behind.entry(address).or_default().insert(ifindex);
        }
        for &address in &later {
            let interfaces = self.behind_later.entry(address).or_default();
            interfaces.insert(ifindex);
        }
        addresses.extend(&later);
        let interface = Interface { fact, later, state };
        self.sandboxes.enter(ifindex, &interface);
        self.interfaces.insert(ifindex, interface);
        touched.extend(self.rivals(&addresses));
        touched.insert(ifindex);
        let decided = self.decide_all(touched);
        if is_new && !decided.iter().any(|event| event.ifindex == ifindex) {
            events.push(self.event(ifindex));
        }
        events.extend(decided);
        events
    }

    /// An interface is gone.
    pub fn interface_removed(&mut self, ifindex: u32) -> Vec<BindEvent> {
        if let Some(pin) = self.pins.remove(ifindex) {
            self.spent.insert(pin.tag, &pin.addresses);
        }
        self.sandboxes.gone(ifindex);
        let tag = self.tag(ifindex);
        let Some(interface) = self.interfaces.remove(&ifindex) else {
            return Vec::new();
        };
        self.unlist(ifindex, &interface);
        let mut touched = self.rivals(&interface.fact.addresses);
        touched.extend(self.rivals(&interface.later));
        if let State::Bound(pod) = &interface.state {
            self.bound.remove(&pod.name);
            if let Some(record) = self.pods.get(&pod.name) {
                self.spent
                    .insert(pod_tag(&pod.name, &pod.uid), &record.addresses);
            }
            touched.extend(self.interfaces_of(&pod.name));
        }
        touched.extend(self.leave_sandboxes(tag));
        let mut events = vec![BindEvent {
            ifindex,
            pod: None,
            problem: None,
        }];
        events.extend(self.decide_all(touched));
        events
    }

    /// A pod exists like this. Finished and host-network pods have no interface, and pods of other
    /// nodes none here.
    pub fn pod(&mut self, fact: &PodFact) -> Vec<BindEvent> {
        let elsewhere = !self.node.is_empty() && !fact.node.is_empty() && fact.node != self.node;
        if fact.host_network || fact.finished || elsewhere {
            return self.pod_removed(&fact.name);
        }
        let was_unreadable = self.pods.get(&fact.name).map(|pod| pod.unreadable);
        let mut touched = self.remove_record(&fact.name);
        let mut events = Vec::new();
        let ended = |uid: &Arc<str>| *uid != fact.uid;
        events.extend(self.end(&fact.name, ended, &mut touched));
        self.pods.insert(
            fact.name.clone(),
            Pod {
                uid: fact.uid.clone(),
                addresses: fact.addresses.clone(),
                unreadable: fact.unreadable,
                lives: fact.running && !fact.terminating,
            },
        );
        self.sandboxes.pod(pod_tag(&fact.name, &fact.uid));
        touched.extend(self.pins.pod(&fact.name, &fact.uid));
        for &address in &fact.addresses {
            let pods = self.pods_at.entry(address).or_default();
            pods.insert(fact.name.clone());
        }
        touched.extend(self.rivals(&fact.addresses));
        touched.extend(self.interfaces_of(&fact.name));
        events.extend(self.decide_all(touched));
        if was_unreadable.is_some_and(|before| before != fact.unreadable)
            && let Some(&ifindex) = self.bound.get(&fact.name)
            && !events.iter().any(|event| event.ifindex == ifindex)
        {
            events.push(self.event(ifindex));
        }
        events
    }

    /// A pod is gone.
    pub fn pod_removed(&mut self, name: &ObjectName) -> Vec<BindEvent> {
        let pod = self.pods.get(name);
        let tag = pod.map_or(0, |pod| pod_tag(name, &pod.uid));
        self.spent.remove(tag);
        let mut touched = self.remove_record(name);
        let mut events = self.end(name, |_| true, &mut touched);
        touched.extend(self.leave_sandboxes(tag));
        events.extend(self.decide_all(touched));
        events
    }

    /// Whether the pod of this tag runs on, though no interface is known to be its.
    pub fn is_without_interface(&self, name: &ObjectName, tag: u64) -> bool {
        let pod = self.pods.get(name);
        pod.is_some_and(|pod| pod.lives && pod_tag(name, &pod.uid) == tag)
            && !self.bound.contains_key(name)
    }

    /// How many pods have, or may have, an interface here.
    pub fn pods(&self) -> usize {
        self.pods.len()
    }

    /// The pod behind an interface.
    pub fn pod_behind(&self, ifindex: u32) -> Option<&ObjectName> {
        match &self.interfaces.get(&ifindex)?.state {
            State::Bound(pod) => Some(&pod.name),
            State::Open(_) | State::Ended(_) | State::Pinned(_) => None,
        }
    }

    /// [`pod_tag`] of the pod that an interface was decided for, by this run or an earlier one; 0 when
    /// it never was.
    pub fn tag(&self, ifindex: u32) -> u64 {
        match self.interfaces.get(&ifindex).map(|known| &known.state) {
            Some(State::Bound(pod) | State::Ended(pod)) => pod_tag(&pod.name, &pod.uid),
            Some(State::Pinned(tag)) => *tag,
            Some(State::Open(_)) | None => 0,
        }
    }

    /// The recorded addresses of a pod that has, or may have, an interface here.
    pub fn addresses(&self, pod: &ObjectName) -> &[IpAddr] {
        self.pods
            .get(pod)
            .map_or(&[], |pod| pod.addresses.as_slice())
    }

    /// Drops the record of a pod; returns the interfaces that it may have concerned.
    fn remove_record(&mut self, name: &ObjectName) -> BTreeSet<u32> {
        let Some(pod) = self.pods.remove(name) else {
            return BTreeSet::new();
        };
        self.pins.pod_removed(name, &pod.uid);
        self.sandboxes.pod_removed(pod_tag(name, &pod.uid));
        for address in &pod.addresses {
            if let Some(pods) = self.pods_at.get_mut(address) {
                pods.remove(name);
                if pods.is_empty() {
                    self.pods_at.remove(address);
                }
            }
        }
        self.rivals(&pod.addresses)
    }

    /// Ends the binding of a pod if it is another pod than the one that was bound.
    fn end(
        &mut self,
        name: &ObjectName,
        is_other: impl Fn(&Arc<str>) -> bool,
        touched: &mut BTreeSet<u32>,
    ) -> Vec<BindEvent> {
        let Some(&ifindex) = self.bound.get(name) else {
            return Vec::new();
        };
        let Some(interface) = self.interfaces.get_mut(&ifindex) else {
            return Vec::new();
        };
        match &interface.state {
            State::Bound(pod) if is_other(&pod.uid) => {
                interface.state = State::Ended(pod.clone());
            }
            _ => return Vec::new(),
        }
        self.bound.remove(name);
        touched.extend(self.rivals(&self.addresses_behind(ifindex)));
        vec![self.event(ifindex)]
    }

    fn unlist(&mut self, ifindex: u32, interface: &Interface) {
        self.sandboxes.leave(ifindex, interface);
        let first = (&mut self.behind, &interface.fact.addresses);
        let later = (&mut self.behind_later, &interface.later);
        for (behind, addresses) in [first, later] {
            for address in addresses {
                if let Some(interfaces) = behind.get_mut(address) {
                    interfaces.remove(&ifindex);
                    if interfaces.is_empty() {
                        behind.remove(address);
                    }
                }
            }
        }
    }

    fn addresses_behind(&self, ifindex: u32) -> Vec<IpAddr> {
        let interface = self.interfaces.get(&ifindex);
        interface.map_or_else(Vec::new, |interface| interface.fact.addresses.clone())
    }

    /// The interfaces that may be decided otherwise when something about these addresses changed:
    /// those behind which one is seen, and those behind which a pod of these has another one.
    pub(super) fn rivals(&self, addresses: &[IpAddr]) -> BTreeSet<u32> {
        let mut rivals = BTreeSet::new();
        for address in addresses {
            rivals.extend(self.behind.get(address).into_iter().flatten());
            rivals.extend(self.behind_later.get(address).into_iter().flatten());
            for pod in self.pods_at.get(address).into_iter().flatten() {
                rivals.extend(self.interfaces_of(pod));
            }
        }
        rivals
    }

    /// The interfaces behind which an address of the pod is seen.
    pub(super) fn interfaces_of(&self, pod: &ObjectName) -> BTreeSet<u32> {
        let addresses = self.pods.get(pod).map(|pod| &pod.addresses);
        let addresses = addresses.into_iter().flatten();
        addresses
            .filter_map(|address| self.behind.get(address))
            .flatten()
            .copied()
            .collect()
    }

    pub(super) fn event(&self, ifindex: u32) -> BindEvent {
        let (pod, problem) = match self.interfaces.get(&ifindex).map(|known| &known.state) {
            Some(State::Bound(pod)) => {
                let record = self.pods.get(&pod.name);
                let unreadable = record.is_some_and(|record| record.unreadable);
                let problem = || BindProblem::Unreadable(pod.name.clone());
                (Some(pod.name.clone()), unreadable.then(problem))
            }
            // Before everything is known, its pod may still come.
            Some(State::Pinned(_)) if self.waiting => (None, None),
            Some(State::Pinned(_)) => (None, Some(BindProblem::EarlierPod)),
            Some(State::Open(problem)) => (None, problem.clone()),
            Some(State::Ended(pod)) => (None, Some(BindProblem::PodGone(pod.name.clone()))),
            None => (None, None),
        };
        BindEvent {
            ifindex,
            pod,
            problem,
        }
    }
}
