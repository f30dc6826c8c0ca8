//! The decision: what the state of an interface must be, given all that is known.
//!
//! Invariant: depends on what is known, never on the order in which it came.

use std::collections::BTreeSet;

use super::{
    BindEvent, BindProblem, Binder,
    binder::{BoundPod, Interface, Pod, State},
};
use crate::model::{ObjectName, pod_tag};

impl Binder {
    /// Decides what can be decided. All decisions are taken before the first is carried out, so
    /// that the order of interfaces does not matter.
    pub(super) fn decide_all(&mut self, touched: BTreeSet<u32>) -> Vec<BindEvent> {
        if self.waiting {
            return Vec::new();
        }
        let decisions: Vec<_> = touched
            .into_iter()
            .filter_map(|ifindex| {
                let interface = self.interfaces.get(&ifindex)?;
                let state = self.decide(ifindex, interface)?;
                (interface.state != state).then_some((ifindex, state))
            })
            .collect();
        let mut events = Vec::with_capacity(decisions.len());
        let mut bound = Vec::new();
        for (ifindex, state) in decisions {
            if let State::Bound(pod) = &state {
                self.bound.insert(pod.name.clone(), ifindex);
                self.pins.remove(ifindex);
                bound.push((ifindex, pod_tag(&pod.name, &pod.uid)));
            }
            if let Some(interface) = self.interfaces.get_mut(&ifindex) {
                interface.state = state;
            }
            events.push(self.event(ifindex));
        }
        let settled = bound.into_iter();
        let touched: BTreeSet<u32> = settled
            .flat_map(|(ifindex, tag)| self.settle_in(ifindex, tag))
            .collect();
        // Each round decides an interface for good: it ends.
        if !touched.is_empty() {
            for event in self.decide_all(touched) {
                events.retain(|earlier: &BindEvent| earlier.ifindex != event.ifindex);
                events.push(event);
            }
        }
        events
    }

    /// What the state of an interface must be; `None`: what it is.
    fn decide(&self, ifindex: u32, interface: &Interface) -> Option<State> {
        match &interface.state {
            State::Bound(_) => None,
            State::Open(_) => Some(self.decide_open(ifindex, interface)),
            State::Ended(ended) => {
                self.decide_again(ifindex, interface, |name| self.may_follow(ended, name))
            }
            State::Pinned(tag) => match self.pins.pod_of(*tag) {
                Some(pod) if !self.bound.contains_key(pod) => self.bind(pod),
                _ => self.decide_again(ifindex, interface, |name| self.is_nameless(name)),
            },
        }
    }

    /// The state of an interface that was never decided.
    fn decide_open(&self, ifindex: u32, interface: &Interface) -> State {
        let addresses = interface.fact.addresses.iter();
        let netns = interface.fact.netns.as_ref();
        let (pods, others): (BTreeSet<&ObjectName>, BTreeSet<_>) = addresses
            .filter_map(|address| self.pods_at.get(address))
            .flatten()
            .partition(|name| self.may_be_in(netns, name));
        if let Some(&pod) = pods.first().or(others.first())
            && self.sandboxes.is_unremembered(ifindex)
        {
            return State::Open(Some(BindProblem::Unremembered(pod.clone())));
        }
        let problem = match self.free(ifindex, &pods).as_slice() {
            &[pod] => match (self.others(ifindex, pod), self.bind(pod)) {
                (others, Some(bound)) if others.is_empty() => return bound,
                (interfaces, _) => {
                    let pod = pod.clone();
                    Some(BindProblem::SeveralInterfaces { pod, interfaces })
                }
            },
            [] => match pods.first() {
                Some(&pod) => Some(self.taken(pod)),
                None => match others.first() {
                    Some(&pod) => Some(BindProblem::OtherSandbox(pod.clone())),
                    None => self.late_pod(interface),
                },
            },
            several => {
                let names = several.iter().map(|&pod| pod.clone()).collect();
                Some(BindProblem::SeveralPods(names))
            }
        };
        State::Open(problem)
    }

    /// The state of an interface that was decided for a pod that is not there: only pods that `may`
    /// follow it count, and only when it is clear which.
    fn decide_again(
        &self,
        ifindex: u32,
        interface: &Interface,
        may: impl Fn(&ObjectName) -> bool,
    ) -> Option<State> {
        let addresses = interface.fact.addresses.iter();
        let pods: BTreeSet<&ObjectName> = addresses
            .filter_map(|address| self.pods_at.get(address))
            .flatten()
            .filter(|name| may(name))
            .collect();
        match self.free(ifindex, &pods).as_slice() {
            &[pod] if self.others(ifindex, pod).is_empty() => self.bind(pod),
            _ => None,
        }
    }

    /// Those of the pods that have no interface, and never had one.
    fn free<'pods>(
        &self,
        ifindex: u32,
        pods: &BTreeSet<&'pods ObjectName>,
    ) -> Vec<&'pods ObjectName> {
        let is_free = |name: &ObjectName| {
            !self.bound.contains_key(name)
                && self.pods.get(name).is_some_and(|pod| {
                    !self.is_spent(name, pod) && !self.pins.is_elsewhere(ifindex, name, &pod.uid)
                })
        };
        let pods = pods.iter().copied();
        pods.filter(|name| is_free(name)).collect()
    }

    /// Why the only pods of an interface cannot be it.
    fn taken(&self, pod: &ObjectName) -> BindProblem {
        let record = self.pods.get(pod);
        if record.is_some_and(|record| self.is_spent(pod, record)) {
            return BindProblem::Spent(pod.clone());
        }
        BindProblem::SeveralInterfaces {
            pod: pod.clone(),
            interfaces: self.bound.get(pod).copied().into_iter().collect(),
        }
    }

    /// A pod of this node whose addresses came to be seen behind an interface that had others.
    fn late_pod(&self, interface: &Interface) -> Option<BindProblem> {
        let addresses = interface.later.iter();
        let mut pods = addresses
            .filter_map(|address| self.pods_at.get(address))
            .flatten();
        pods.next().cloned().map(BindProblem::Later)
    }

    /// Bound to the pod.
    fn bind(&self, pod: &ObjectName) -> Option<State> {
        let uid = self.pods.get(pod)?.uid.clone();
        let name = pod.clone();
        Some(State::Bound(BoundPod { name, uid }))
    }

    /// The other interfaces that could be decided for the pod.
    fn others(&self, ifindex: u32, pod: &ObjectName) -> Vec<u32> {
        self.interfaces_of(pod)
            .into_iter()
            .filter(|&other| other != ifindex && self.is_undecided(other, pod))
            .collect()
    }

    /// Whether an interface could also be decided for the pod.
    fn is_undecided(&self, ifindex: u32, pod: &ObjectName) -> bool {
        let interface = self.interfaces.get(&ifindex);
        match interface.map(|known| &known.state) {
            Some(State::Open(_)) => {
                let netns = interface.and_then(|known| known.fact.netns.as_ref());
                self.may_be_in(netns, pod) && !self.sandboxes.is_unremembered(ifindex)
            }
            Some(State::Ended(ended)) => self.may_follow(ended, pod),
            Some(State::Pinned(tag)) => match self.pins.pod_of(*tag) {
                Some(pinned) => pinned == pod,
                None => self.is_nameless(pod),
            },
            Some(State::Bound(_)) | None => false,
        }
    }

    fn is_spent(&self, name: &ObjectName, pod: &Pod) -> bool {
        self.spent.contains(name, &pod.uid, &pod.addresses)
    }

    /// Whether an interface whose pod is gone may be this pod's: the same pod seen again, or any
    /// where the source has no UIDs.
    fn may_follow(&self, ended: &BoundPod, name: &ObjectName) -> bool {
        self.pods.get(name).is_some_and(|pod| {
            pod.uid == ended.uid && (ended.uid.is_empty() || ended.name == *name)
        })
    }

    /// Whether the source has no UID of the pod: it may be any that had its address.
    fn is_nameless(&self, name: &ObjectName) -> bool {
        self.pods.get(name).is_some_and(|pod| pod.uid.is_empty())
    }
}
