//! Which interface is which pod.
//!
//! Pure: interfaces and pods come in, decisions come out; numbers of endpoints, attaching and
//! waiting are others' work. A pod is recognised by its recorded addresses (`status.podIPs`), as
//! they are seen inside the network namespace behind an interface. A pod controls what is inside,
//! so a decision is made once:
//!
//! - what an interface's addresses were when it was decided counts for ever; later changes inside
//!   move nothing;
//! - several pods for one interface, or several interfaces for one pod, leave the interfaces
//!   unknown and are reported; a decided one is not affected;
//! - a pod that is gone, or came back with another UID, leaves its interface unknown: the new pod
//!   is found behind a new interface. Only where the source has no UIDs may the interface be
//!   decided again, and then by the addresses of its first decision.
//!
//! Invariant: the outcome does not depend on whether the interface or its pod was seen first, and
//! an event is given exactly when an outcome changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use rustc_hash::FxHashMap;

use crate::model::{ObjectName, PodFact};

/// One interface of the host as netlink shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceFact {
    /// Its index on the host.
    pub ifindex: u32,
    /// Its name, for people.
    pub name: Arc<str>,
    /// What identifies the network namespace of its other end (path or id), if it is known.
    /// Another one under the same index is another interface.
    pub netns: Option<Arc<str>>,
    /// Addresses inside that namespace.
    pub addresses: Vec<IpAddr>,
    /// Index of the bridge whose port the interface is.
    pub bridge: Option<u32>,
    /// The other end is in another network namespace: the interface may be a pod's. Others are
    /// left alone.
    pub sandbox: bool,
}

/// Why it is not known which pod an interface belongs to, or not for sure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindProblem {
    /// Several pods have addresses that are seen behind the interface.
    #[error("several pods have addresses behind the interface: {}", list(.0))]
    SeveralPods(Vec<ObjectName>),
    /// The pod's addresses are seen behind other interfaces too.
    #[error("addresses of pod {pod} are also behind interfaces {interfaces:?}")]
    SeveralInterfaces {
        /// The pod.
        pod: ObjectName,
        /// The other interfaces; only the decided one when there is one.
        interfaces: Vec<u32>,
    },
    /// The pod that the interface belonged to is gone or was created anew.
    #[error("pod {0} of the interface is gone")]
    PodGone(ObjectName),
}

fn list(names: &[ObjectName]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// What is known of one interface now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindEvent {
    /// The interface.
    pub ifindex: u32,
    /// The interface is gone, or cannot be a pod's any more: it is no endpoint.
    pub gone: bool,
    /// Its pod; `None`: unknown.
    pub pod: Option<ObjectName>,
    /// Why the pod is unknown, where more is to say than that it was not seen yet.
    pub problem: Option<BindProblem>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct BoundPod {
    name: ObjectName,
    uid: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Not decided yet.
    Open(Option<BindProblem>),
    /// Decided.
    Bound(BoundPod),
    /// Was decided, and the pod is gone.
    Ended(BoundPod),
}

#[derive(Debug)]
struct Interface {
    fact: InterfaceFact,
    state: State,
}

#[derive(Debug)]
struct Pod {
    uid: Arc<str>,
    addresses: Vec<IpAddr>,
}

/// Binds interfaces to pods.
#[derive(Debug, Default)]
pub struct Binder {
    interfaces: BTreeMap<u32, Interface>,
    pods: FxHashMap<ObjectName, Pod>,
    pods_at: FxHashMap<IpAddr, BTreeSet<ObjectName>>,
    behind: FxHashMap<IpAddr, BTreeSet<u32>>,
    bound: FxHashMap<ObjectName, u32>,
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
    fn interfaces_of(&self, pod: &ObjectName) -> BTreeSet<u32> {
        let addresses = self.pods.get(pod).map(|pod| &pod.addresses);
        let addresses = addresses.into_iter().flatten();
        addresses
            .filter_map(|address| self.behind.get(address))
            .flatten()
            .copied()
            .collect()
    }

    /// Decides what can be decided. All decisions are taken before the first is carried out, so
    /// that the order of interfaces does not matter.
    fn settle(&mut self, touched: BTreeSet<u32>) -> Vec<BindEvent> {
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

    fn event(&self, ifindex: u32) -> BindEvent {
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
