//! Keeps what is known of interfaces and pods, and which decisions were taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use rustc_hash::FxHashMap;

use super::{BindEvent, BindProblem, InterfaceFact};
use crate::model::{ObjectName, PodFact};

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
}

#[derive(Debug)]
pub(super) struct Interface {
    pub(super) fact: InterfaceFact,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) struct Pod {
    pub(super) uid: Arc<str>,
    addresses: Vec<IpAddr>,
}

/// Binds interfaces to pods.
#[derive(Debug, Default)]
pub struct Binder {
    pub(super) interfaces: BTreeMap<u32, Interface>,
    pub(super) pods: FxHashMap<ObjectName, Pod>,
    pub(super) pods_at: FxHashMap<IpAddr, BTreeSet<ObjectName>>,
    behind: FxHashMap<IpAddr, BTreeSet<u32>>,
    pub(super) bound: FxHashMap<ObjectName, u32>,
}

impl Binder {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self::default()
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
        if let Some(known) = self.interfaces.remove(&ifindex) {
            touched.extend(self.rivals(&known.fact.addresses));
            fact.netns = fact.netns.or(known.fact.netns);
            self.unlist(ifindex, &known.fact.addresses);
            self.interfaces.insert(
                ifindex,
                Interface {
                    fact,
                    state: known.state,
                },
            );
        } else {
            let state = State::Open(None);
            self.interfaces.insert(ifindex, Interface { fact, state });
        }
        let addresses = self.addresses_behind(ifindex);
        for &address in &addresses {
            self.behind.entry(address).or_default().insert(ifindex);
        }
        touched.extend(self.rivals(&addresses));
        touched.insert(ifindex);
        let settled = self.settle(touched);
        if is_new && !settled.iter().any(|event| event.ifindex == ifindex) {
            events.push(self.event(ifindex));
        }
        events.extend(settled);
        events
    }

    /// An interface is gone.
    pub fn interface_removed(&mut self, ifindex: u32) -> Vec<BindEvent> {
        let Some(interface) = self.interfaces.remove(&ifindex) else {
            return Vec::new();
        };
        self.unlist(ifindex, &interface.fact.addresses);
        let mut touched = self.rivals(&interface.fact.addresses);
        if let State::Bound(pod) = &interface.state {
            self.bound.remove(&pod.name);
            touched.extend(self.interfaces_of(&pod.name));
        }
        let mut events = vec![BindEvent {
            ifindex,
            gone: true,
            pod: None,
            problem: None,
        }];
        events.extend(self.settle(touched));
        events
    }

    /// A pod exists like this. Finished and host-network pods have no interface.
    pub fn pod(&mut self, fact: &PodFact) -> Vec<BindEvent> {
        if fact.host_network || fact.finished {
            return self.pod_removed(&fact.name);
        }
        let mut touched = self.forget(&fact.name);
        let mut events = Vec::new();
        let ended = |uid: &Arc<str>| *uid != fact.uid;
        events.extend(self.end(&fact.name, ended, &mut touched));
        self.pods.insert(
            fact.name.clone(),
            Pod {
                uid: fact.uid.clone(),
                addresses: fact.addresses.clone(),
            },
        );
        for &address in &fact.addresses {
            let pods = self.pods_at.entry(address).or_default();
            pods.insert(fact.name.clone());
        }
        touched.extend(self.rivals(&fact.addresses));
        touched.extend(self.interfaces_of(&fact.name));
        events.extend(self.settle(touched));
        events
    }

    /// A pod is gone.
    pub fn pod_removed(&mut self, name: &ObjectName) -> Vec<BindEvent> {
        let mut touched = self.forget(name);
        let mut events = self.end(name, |_| true, &mut touched);
        events.extend(self.settle(touched));
        events
    }

    /// The pod behind an interface.
    pub fn pod_behind(&self, ifindex: u32) -> Option<&ObjectName> {
        match &self.interfaces.get(&ifindex)?.state {
            State::Bound(pod) => Some(&pod.name),
            State::Open(_) | State::Ended(_) => None,
        }
    }

    /// The recorded addresses of a pod that has, or may have, an interface here.
    pub fn addresses(&self, pod: &ObjectName) -> &[IpAddr] {
        self.pods
            .get(pod)
            .map_or(&[], |pod| pod.addresses.as_slice())
    }

    /// What is known of every interface that may be a pod's.
    pub fn all(&self) -> impl Iterator<Item = (&InterfaceFact, BindEvent)> {
        self.interfaces
            .iter()
            .map(|(&ifindex, interface)| (&interface.fact, self.event(ifindex)))
    }

    /// Drops the record of a pod; returns the interfaces that it may have concerned.
    fn forget(&mut self, name: &ObjectName) -> BTreeSet<u32> {
        let Some(pod) = self.pods.remove(name) else {
            return BTreeSet::new();
        };
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

    fn unlist(&mut self, ifindex: u32, addresses: &[IpAddr]) {
        for address in addresses {
            if let Some(interfaces) = self.behind.get_mut(address) {
                interfaces.remove(&ifindex);
                if interfaces.is_empty() {
                    self.behind.remove(address);
                }
            }
        }
    }

    fn addresses_behind(&self, ifindex: u32) -> Vec<IpAddr> {
        let interface = self.interfaces.get(&ifindex);
        interface.map_or_else(Vec::new, |interface| interface.fact.addresses.clone())
    }

    /// The interfaces that may be settled otherwise when something about these addresses changed:
    /// those behind which one is seen, and those behind which a pod of these has another one.
    fn rivals(&self, addresses: &[IpAddr]) -> BTreeSet<u32> {
        let mut rivals = BTreeSet::new();
        for address in addresses {
            rivals.extend(self.behind.get(address).into_iter().flatten());
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
            Some(State::Bound(pod)) => (Some(pod.name.clone()), None),
            Some(State::Open(problem)) => (None, problem.clone()),
            Some(State::Ended(pod)) => (None, Some(BindProblem::PodGone(pod.name.clone()))),
            None => (None, None),
        };
        BindEvent {
            ifindex,
            gone: false,
            pod,
            problem,
        }
    }
}
