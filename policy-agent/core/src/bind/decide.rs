//! The decision: what the state of an interface must be, given all that is known.
//!
//! Invariant: depends on what is known, never on the order in which it came.

use std::collections::BTreeSet;

use super::{
    BindEvent, BindProblem, Binder,
    binder::{BoundPod, Interface, State},
};
use crate::model::ObjectName;

impl Binder {
    /// Decides what can be decided. All decisions are taken before the first is carried out, so
    /// that the order of interfaces does not matter.
    pub(super) fn settle(&mut self, touched: BTreeSet<u32>) -> Vec<BindEvent> {
        let decisions: Vec<_> = touched
            .into_iter()
            .filter_map(|ifindex| {
                let interface = self.interfaces.get(&ifindex)?;
                let state = self.decide(ifindex, interface)?;
                (interface.state != state).then_some((ifindex, state))
            })
            .collect();
        let mut events = Vec::with_capacity(decisions.len());
        for (ifindex, state) in decisions {
            if let State::Bound(pod) = &state {
                self.bound.insert(pod.name.clone(), ifindex);
            }
            if let Some(interface) = self.interfaces.get_mut(&ifindex) {
                interface.state = state;
            }
            events.push(self.event(ifindex));
        }
        events
    }

    /// What the state of an interface must be; `None`: what it is.
    fn decide(&self, ifindex: u32, interface: &Interface) -> Option<State> {
        let ended = match &interface.state {
            State::Bound(_) => return None,
            State::Ended(pod) => Some(pod),
            State::Open(_) => None,
        };
        let addresses = interface.fact.addresses.iter();
        let pods: BTreeSet<&ObjectName> = addresses
            .filter_map(|address| self.pods_at.get(address))
            .flatten()
            .filter(|name| ended.is_none_or(|ended| self.may_follow(ended, name)))
            .collect();
        let free: Vec<&ObjectName> = pods
            .iter()
            .copied()
            .filter(|pod| !self.bound.contains_key(*pod))
            .collect();
        match (free.as_slice(), pods.first(), ended) {
            (&[pod], ..) => {
                let others: Vec<u32> = self
                    .interfaces_of(pod)
                    .into_iter()
                    .filter(|&other| other != ifindex && self.is_undecided(other, pod))
                    .collect();
                if others.is_empty() {
                    let uid = self.pods.get(pod)?.uid.clone();
                    return Some(State::Bound(BoundPod {
                        name: pod.clone(),
                        uid,
                    }));
                }
                let problem = BindProblem::SeveralInterfaces {
                    pod: pod.clone(),
                    interfaces: others,
                };
                ended.is_none().then_some(State::Open(Some(problem)))
            }
            (_, _, Some(_)) => None,
            ([], None, None) => Some(State::Open(None)),
            ([], Some(&pod), None) => Some(State::Open(Some(BindProblem::SeveralInterfaces {
                pod: pod.clone(),
                interfaces: self.bound.get(pod).copied().into_iter().collect(),
            }))),
            (several, ..) => Some(State::Open(Some(BindProblem::SeveralPods(
                several.iter().map(|&pod| pod.clone()).collect(),
            )))),
        }
    }

    /// Whether an interface could also be decided for the pod.
    fn is_undecided(&self, ifindex: u32, pod: &ObjectName) -> bool {
        match self.interfaces.get(&ifindex).map(|known| &known.state) {
            Some(State::Open(_)) => true,
            Some(State::Ended(ended)) => self.may_follow(ended, pod),
            Some(State::Bound(_)) | None => false,
        }
    }

    /// Whether an interface whose pod is gone may be this pod's: the same pod seen again, or any
    /// where the source has no UIDs.
    fn may_follow(&self, ended: &BoundPod, name: &ObjectName) -> bool {
        self.pods.get(name).is_some_and(|pod| {
            pod.uid == ended.uid && (ended.uid.is_empty() || ended.name == *name)
        })
    }
}
