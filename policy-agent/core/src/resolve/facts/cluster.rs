//! The facts as they stand, indexed, and what of the tables each change may touch.
//!
//! Owns namespaces, pods (see `claims`), policies, endpoints and claims on addresses; knows nothing of
//! predicates. Invariant: everything whose outcome a change may alter is marked, in [`Dirty`] or in
//! the address book.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use rustc_hash::{FxHashMap, FxHashSet};
use slab::Slab;

use super::{
    book::AddressBook,
    group::{Group, GroupIndex},
    ids::{GroupId, PodId, ScopeId},
    label_index::LabelIndex,
    pod::Pod,
    pool::Pools,
};
use crate::model::{Change, EndpointFact, Labels, NamespaceFact, ObjectName, PolicyFact};

/// What a namespace holds; exists while its Namespace, a pod or a policy does.
#[derive(Debug, Default)]
pub(crate) struct Namespace {
    /// `None` while the Namespace object is not known.
    pub(crate) labels: Option<Labels>,
    /// The scopes with a selector that the labels match.
    pub(crate) scopes: Vec<ScopeId>,
    pub(crate) groups: GroupIndex,
    pub(crate) policies: BTreeMap<Arc<str>, Arc<PolicyFact>>,
}

impl Namespace {
    fn is_empty(&self) -> bool {
        self.labels.is_none() && self.groups.is_empty() && self.policies.is_empty()
    }
}

/// What must be looked at again, besides the addresses marked in the book.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    pub(crate) endpoints: BTreeSet<u32>,
    /// Namespaces with another set of policies.
    pub(crate) policies: FxHashSet<Arc<str>>,
    /// Namespaces with other labels.
    pub(crate) labels: FxHashSet<Arc<str>>,
    /// Namespaces with new groups.
    pub(crate) groups: FxHashSet<Arc<str>>,
    /// The list of Services' addresses is another.
    pub(crate) services: bool,
}

/// All facts.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) namespaces: FxHashMap<Arc<str>, Namespace>,
    /// The names of those whose labels are known.
    pub(crate) labelled: LabelIndex<Arc<str>>,
    pub(crate) pods: Slab<Pod>,
    pub(crate) pod_ids: FxHashMap<ObjectName, PodId>,
    pub(crate) groups: Slab<Group>,
    pub(crate) pools: Pools,
    pub(crate) addresses: AddressBook,
    pub(crate) contested: BTreeSet<IpAddr>,
    pub(crate) endpoints: BTreeMap<u32, EndpointFact>,
    interfaces: FxHashMap<ObjectName, BTreeSet<u32>>,
    host: BTreeSet<IpAddr>,
    /// The list of Services' addresses that are judged later, 0 where none are.
    pub(crate) services: u64,
    pub(crate) dirty: Dirty,
}

impl Cluster {
    /// Records a change.
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Namespace(fact) => self.put_namespace(fact),
            Change::NamespaceRemoved(name) => {
                if let Some(namespace) = self.namespaces.get_mut(&name)
                    && let Some(labels) = namespace.labels.take()
                {
                    self.labelled.remove(&name, &labels);
                    self.pools.give_back_labels(&labels);
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
            Change::Node(_)
            | Change::NodeRemoved(_)
            | Change::Service(_)
            | Change::ServiceRemoved(_) => {}
            Change::Endpoint(fact) => self.put_endpoint(fact),
            Change::EndpointRemoved(ifindex) => {
                if let Some(fact) = self.endpoints.remove(&ifindex) {
                    self.unlink(&fact);
                }
            }
            Change::HostAddresses(addresses) => self.put_host(addresses.into_iter().collect()),
            Change::Services(list) => {
                let before = std::mem::replace(&mut self.services, list);
                self.dirty.services |= before != list;
            }
        }
    }

    fn put_namespace(&mut self, fact: NamespaceFact) {
        let namespace = self.namespaces.entry(fact.name.clone()).or_default();
        if namespace.labels.as_ref() != Some(&fact.labels) {
            let labels = self.pools.take_labels(fact.labels);
            if let Some(before) = namespace.labels.take() {
                self.labelled.remove(&fact.name, &before);
                self.pools.give_back_labels(&before);
            }
            self.labelled.insert(&fact.name, &labels);
            namespace.labels = Some(labels);
            self.dirty.labels.insert(fact.name);
        }
    }

    /// Forgets a namespace that nothing is known of.
    pub(crate) fn drop_if_empty(&mut self, name: &str) {
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
        for &ip in before.symmetric_difference(&self.host) {
            let address = self.addresses.enter(ip);
            self.addresses[address].host = self.host.contains(&ip);
            self.addresses.mark(address);
        }
    }

    pub(crate) fn touch_interfaces(&mut self, pod: &ObjectName) {
        if let Some(interfaces) = self.interfaces.get(pod) {
            self.dirty.endpoints.extend(interfaces);
        }
    }

    fn touch_addresses(&mut self, pod: &ObjectName) {
        if let Some(pod) = self.pod_id(pod) {
            self.mark_pod(pod);
        }
    }

    /// The local endpoint of a pod; the one with the smallest interface index of several.
    pub(crate) fn endpoint_of(&self, pod: &ObjectName) -> Option<&EndpointFact> {
        let ifindex = self.interfaces.get(pod)?.first()?;
        self.endpoints.get(ifindex)
    }

    /// Addresses that several pods claim, the winner first.
    pub(crate) fn contested(&self) -> impl Iterator<Item = (IpAddr, Vec<&ObjectName>)> {
        self.contested.iter().filter_map(|&ip| {
            let claimants = self.addresses.find(ip)?.claimants.iter();
            let names = claimants.map(|&pod| &self.pods[pod as usize].name);
            Some((ip, names.collect()))
        })
    }

    /// Whether no change waits for a commit.
    pub(crate) fn is_clean(&self) -> bool {
        let Dirty {
            endpoints,
            policies,
            labels,
            groups,
            services,
        } = &self.dirty;
        self.addresses.is_unmarked()
            && endpoints.is_empty()
            && policies.is_empty()
            && labels.is_empty()
            && groups.is_empty()
            && !services
    }

    /// Makes all groups known to selectors.
    pub(crate) fn list_groups(&mut self) {
        for name in self.dirty.groups.drain() {
            if let Some(namespace) = self.namespaces.get_mut(&name) {
                namespace.groups.list(&self.groups);
            }
        }
    }

    fn mark_pod(&mut self, pod: PodId) {
        for &address in &self.pods[pod as usize].claims {
            self.addresses.mark(address);
        }
    }

    /// Marks the addresses of a group's pods.
    pub(crate) fn mark_group(&mut self, group: GroupId) {
        for &address in &self.groups[group as usize].addresses {
            self.addresses.mark(address);
        }
    }
}
