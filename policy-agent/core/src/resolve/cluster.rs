//! The facts as they stand, indexed, and what of the tables each change may touch.
//!
//! Owns namespaces, pods, policies, endpoints and claims on addresses; knows nothing of predicates
//! or numbers. Invariant: everything whose outcome a change may alter is marked in [`Dirty`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use rustc_hash::{FxHashMap, FxHashSet};
use slab::Slab;
use smallvec::SmallVec;

use super::{pod_index::PodIndex, term::ScopeId};
use crate::model::{Change, EndpointFact, Labels, NamespaceFact, ObjectName, PodFact, PolicyFact};

/// Addresses of a cluster differ in few bits, often only in the first or the last of a word, which
/// the multiplication of `FxHasher` alone does not spread.
type AddressHasher = foldhash::fast::FixedState;
pub(super) type AddressMap<V> = HashMap<IpAddr, V, AddressHasher>;
pub(super) type AddressSet = HashSet<IpAddr, AddressHasher>;

/// Number of a pod, inside the resolver only.
pub(super) type PodId = u32;

/// What a namespace holds; exists while its Namespace, a pod or a policy does.
#[derive(Debug, Default)]
pub(super) struct Namespace {
    /// `None` while the Namespace object is not known.
    pub(super) labels: Option<Labels>,
    /// The scopes with a selector that the labels match.
    pub(super) scopes: Vec<ScopeId>,
    pub(super) pods: PodIndex,
    pub(super) policies: BTreeMap<Arc<str>, Arc<PolicyFact>>,
}

impl Namespace {
    fn is_empty(&self) -> bool {
        self.labels.is_none() && self.pods.is_empty() && self.policies.is_empty()
    }
}

/// Who claims an address.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// The winner first.
    pub(super) pods: SmallVec<[PodId; 2]>,
    pub(super) host: bool,
}

/// What must be looked at again.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    pub(super) addresses: AddressSet,
    pub(super) endpoints: BTreeSet<u32>,
    /// Namespaces with another set of policies.
    pub(super) policies: FxHashSet<Arc<str>>,
    /// Namespaces with other labels.
    pub(super) labels: FxHashSet<Arc<str>>,
}

impl Dirty {
    /// Whether no change waits for a commit.
    pub(super) fn is_empty(&self) -> bool {
        self.addresses.is_empty()
            && self.endpoints.is_empty()
            && self.policies.is_empty()
            && self.labels.is_empty()
    }
}

/// All facts.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) namespaces: FxHashMap<Arc<str>, Namespace>,
    pub(super) pods: Slab<PodFact>,
    pod_ids: FxHashMap<ObjectName, PodId>,
    pub(super) claims: AddressMap<Claims>,
    contested: BTreeSet<IpAddr>,
    pub(super) endpoints: BTreeMap<u32, EndpointFact>,
    interfaces: FxHashMap<ObjectName, BTreeSet<u32>>,
    host: BTreeSet<IpAddr>,
    pub(super) dirty: Dirty,
}

impl Cluster {
    /// Records a change.
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Namespace(fact) => self.put_namespace(fact),
            Change::NamespaceRemoved(name) => {
                if let Some(namespace) = self.namespaces.get_mut(&name)
                    && namespace.labels.take().is_some()
                {
                    self.dirty.labels.insert(name);
                }
            }
            Change::Pod(fact) => self.put_pod(fact),
            Change::PodRemoved(name) => self.remove_pod(&name),
            Change::Policy(fact) => self.put_policy(fact),
            Change::PolicyRemoved(name) => {
                if let Some(namespace) = self.namespaces.get_mut(&name.namespace)
                    && namespace.policies.remove(&name.name).is_some()
                {
                    self.dirty.policies.insert(name.namespace.clone());
                    self.drop_if_empty(&name.namespace);
                }
            }
            Change::Endpoint(fact) => self.put_endpoint(fact),
            Change::EndpointRemoved(ifindex) => {
                if let Some(fact) = self.endpoints.remove(&ifindex) {
                    self.unlink(&fact);
                }
            }
            Change::HostAddresses(addresses) => self.put_host(addresses.into_iter().collect()),
        }
    }

    fn put_namespace(&mut self, fact: NamespaceFact) {
        let namespace = self.namespaces.entry(fact.name.clone()).or_default();
        if namespace.labels.as_ref() != Some(&fact.labels) {
            namespace.labels = Some(fact.labels);
            self.dirty.labels.insert(fact.name);
        }
    }

    /// Forgets a namespace that nothing is known of.
    pub(super) fn drop_if_empty(&mut self, name: &str) {
        if self.namespaces.get(name).is_some_and(Namespace::is_empty)
            && !self.dirty.labels.contains(name)
        {
            self.namespaces.remove(name);
        }
    }

    fn put_policy(&mut self, fact: PolicyFact) {
        let name = fact.name.clone();
        let namespace = self.namespaces.entry(name.namespace.clone()).or_default();
        let before = namespace.policies.get(&name.name);
        if before.is_none_or(|before| **before != fact) {
            namespace.policies.insert(name.name, Arc::new(fact));
            self.dirty.policies.insert(name.namespace);
        }
    }

    fn put_pod(&mut self, fact: PodFact) {
        let name = fact.name.clone();
        let (id, before) = match self.pod_ids.get(&name) {
            Some(&id) => {
                let before = &mut self.pods[id as usize];
                if *before == fact {
                    return;
                }
                (id, Some(std::mem::replace(before, fact)))
            }
            None => {
                // Fewer than 2^32 pods: each takes many bytes of memory.
                let id = self.pods.insert(fact) as PodId;
                self.pod_ids.insert(name.clone(), id);
                (id, None)
            }
        };
        let labels = &self.pods[id as usize].labels;
        if before
            .as_ref()
            .is_none_or(|before| before.labels != *labels)
        {
            let namespace = self.namespaces.entry(name.namespace.clone()).or_default();
            if let Some(before) = &before {
                namespace.pods.remove(id, &before.labels);
            }
            namespace.pods.insert(id, labels);
        }
        let before = before.map(|pod| claimed(&pod)).unwrap_or_default();
        let after = claimed(&self.pods[id as usize]);
        for address in before.iter().filter(|address| !after.contains(address)) {
            self.retract(*address, id);
        }
        for address in after {
            self.claim(address, id);
        }
        self.touch_interfaces(&name);
    }

    fn remove_pod(&mut self, name: &ObjectName) {
        let Some(id) = self.pod_ids.remove(name) else {
            return;
        };
        for address in claimed(&self.pods[id as usize]) {
            self.retract(address, id);
        }
        let pod = self.pods.remove(id as usize);
        if let Some(namespace) = self.namespaces.get_mut(&name.namespace) {
            namespace.pods.remove(id, &pod.labels);
        }
        self.drop_if_empty(&name.namespace);
        self.touch_interfaces(name);
    }

    fn put_endpoint(&mut self, fact: EndpointFact) {
        let before = self.endpoints.insert(fact.ifindex, fact.clone());
        if before.as_ref() == Some(&fact) {
            return;
        }
        if let Some(before) = before {
            self.unlink(&before);
        }
        self.dirty.endpoints.insert(fact.ifindex);
        if let Some(pod) = fact.pod {
            let interfaces = self.interfaces.entry(pod.clone()).or_default();
            interfaces.insert(fact.ifindex);
            self.touch_addresses(&pod);
        }
    }

    fn unlink(&mut self, fact: &EndpointFact) {
        self.dirty.endpoints.insert(fact.ifindex);
        let Some(pod) = &fact.pod else { return };
        if let Some(interfaces) = self.interfaces.get_mut(pod) {
            interfaces.remove(&fact.ifindex);
            if interfaces.is_empty() {
                self.interfaces.remove(pod);
            }
        }
        self.touch_addresses(pod);
    }

    fn put_host(&mut self, addresses: BTreeSet<IpAddr>) {
        let before = std::mem::replace(&mut self.host, addresses);
        for &address in before.symmetric_difference(&self.host) {
            let claims = self.claims.entry(address).or_default();
            claims.host = self.host.contains(&address);
            if claims.pods.is_empty() && !claims.host {
                self.claims.remove(&address);
            }
            self.dirty.addresses.insert(address);
        }
    }

    fn claim(&mut self, address: IpAddr, pod: PodId) {
        let claims = self.claims.entry(address).or_default();
        if !claims.pods.contains(&pod) {
            claims.pods.push(pod);
        }
        self.rank(address);
    }

    fn retract(&mut self, address: IpAddr, pod: PodId) {
        if let Some(claims) = self.claims.get_mut(&address) {
            claims.pods.retain(|&mut other| other != pod);
        }
        self.rank(address);
    }

    /// Puts the winner of an address first. Who wins or loses it may have changed.
    fn rank(&mut self, address: IpAddr) {
        self.dirty.addresses.insert(address);
        let Some(claims) = self.claims.get_mut(&address) else {
            return;
        };
        let pods = &self.pods;
        claims.pods.sort_by(|&a, &b| {
            let (a, b) = (&pods[a as usize], &pods[b as usize]);
            let rank = |pod: &PodFact| (pod.running, pod.started);
            rank(b)
                .cmp(&rank(a))
                .then_with(|| b.uid.cmp(&a.uid))
                .then_with(|| b.name.cmp(&a.name))
        });
        if claims.pods.len() > 1 {
            self.contested.insert(address);
        } else {
            self.contested.remove(&address);
        }
        let claimants = claims.pods.clone();
        if claimants.is_empty() && !claims.host {
            self.claims.remove(&address);
        }
        for pod in claimants {
            let name = self.pods[pod as usize].name.clone();
            self.touch_interfaces(&name);
        }
    }

    fn touch_interfaces(&mut self, pod: &ObjectName) {
        if let Some(interfaces) = self.interfaces.get(pod) {
            self.dirty.endpoints.extend(interfaces);
        }
    }

    fn touch_addresses(&mut self, pod: &ObjectName) {
        if let Some(pod) = self.pod(pod) {
            self.dirty.addresses.extend(claimed(pod));
        }
    }

    /// The pod of a name.
    pub(super) fn pod(&self, name: &ObjectName) -> Option<&PodFact> {
        self.pods.get(*self.pod_ids.get(name)? as usize)
    }

    /// The pod that has an address.
    pub(super) fn owner(&self, address: IpAddr) -> Option<&PodFact> {
        let winner = *self.claims.get(&address)?.pods.first()?;
        self.pods.get(winner as usize)
    }

    /// The local endpoint of a pod; the one with the smallest interface index of several.
    pub(super) fn endpoint_of(&self, pod: &ObjectName) -> Option<&EndpointFact> {
        let ifindex = self.interfaces.get(pod)?.first()?;
        self.endpoints.get(ifindex)
    }

    /// The addresses that a pod has, without those that another pod won.
    pub(super) fn addresses_of(&self, pod: &PodFact) -> impl Iterator<Item = IpAddr> {
        claimed(pod).into_iter().filter(|&address| {
            self.owner(address)
                .is_some_and(|owner| owner.name == pod.name)
        })
    }

    /// Addresses that several pods claim, the winner first.
    pub(super) fn contested(&self) -> impl Iterator<Item = (IpAddr, Vec<&ObjectName>)> {
        self.contested.iter().filter_map(|address| {
            let claims = self.claims.get(address)?;
            let names = claims.pods.iter();
            let names = names.filter_map(|&pod| Some(&self.pods.get(pod as usize)?.name));
            Some((*address, names.collect()))
        })
    }

    /// Whether every address is marked already, as at the first commit.
    pub(super) fn is_all_marked(&self) -> bool {
        let marked = &self.dirty.addresses;
        marked.len() >= self.claims.len()
            && self.claims.keys().all(|address| marked.contains(address))
    }

    /// Marks the addresses of a pod.
    pub(super) fn mark_pod(&mut self, pod: PodId) {
        if let Some(pod) = self.pods.get(pod as usize) {
            self.dirty.addresses.extend(claimed(pod));
        }
    }
}

/// The addresses that a pod claims: none for a finished or a host-network pod.
fn claimed(pod: &PodFact) -> SmallVec<[IpAddr; 2]> {
    if pod.finished || pod.host_network {
        return SmallVec::new();
    }
    pod.addresses.iter().copied().collect()
}
