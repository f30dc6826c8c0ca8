//! The specification, read literally and slowly: what the tables must say.
//!
//! Shares nothing with the compiler but the facts and the meaning of one selector. Invariant: every
//! sentence of the specification is one place here, in the order in which it is written there; no
//! indexes, no caches.

use std::{cmp::Ordering, net::IpAddr};

use policy_common::Direction;

use crate::model::{
    Change, EndpointFact, NamespaceFact, ObjectName, Peer, PodFact, PolicyFact, Rule,
    literal::{Other, rule_allows},
};

/// Everything that is known: a plain list of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Known Namespace objects.
    pub namespaces: Vec<NamespaceFact>,
    /// Pods.
    pub pods: Vec<PodFact>,
    /// Policies.
    pub policies: Vec<PolicyFact>,
    /// Interfaces of pods of this node.
    pub endpoints: Vec<EndpointFact>,
    /// Addresses of this host.
    pub host: Vec<IpAddr>,
    /// The list of Services' addresses that are judged later.
    pub services: u64,
}

impl Facts {
    /// The facts after a change.
    pub fn apply(&mut self, change: &Change) {
        match change.clone() {
            Change::Namespace(fact) => {
                self.namespaces.retain(|known| known.name != fact.name);
                self.namespaces.push(fact);
            }
            Change::NamespaceRemoved(name) => self.namespaces.retain(|known| known.name != name),
            Change::Pod(fact) => {
                self.pods.retain(|known| known.name != fact.name);
                // Nobody as a peer, and unknown as a subject.
                self.pods.extend(Some(fact).filter(|fact| !fact.unreadable));
            }
            Change::PodRemoved(name) => self.pods.retain(|known| known.name != name),
            Change::Policy(fact) => {
                self.policies.retain(|known| known.name != fact.name);
                self.policies.push(fact);
            }
            Change::PolicyRemoved(name) => self.policies.retain(|known| known.name != name),
            Change::Endpoint(fact) => {
                self.endpoints.retain(|known| known.ifindex != fact.ifindex);
                self.endpoints.push(fact);
            }
            Change::EndpointRemoved(ifindex) => {
                self.endpoints.retain(|known| known.ifindex != ifindex);
            }
            Change::HostAddresses(addresses) => self.host = addresses,
            Change::Services(list) => self.services = list,
            Change::Node(_)
            | Change::NodeRemoved(_)
            | Change::Service(_)
            | Change::ServiceRemoved(_) => {}
        }
    }

    /// Changes that lead from nothing to these facts.
    pub fn changes(&self) -> impl Iterator<Item = Change> {
        let namespaces = self.namespaces.iter().cloned().map(Change::Namespace);
        let pods = self.pods.iter().cloned().map(Change::Pod);
        let policies = self.policies.iter().cloned().map(Change::Policy);
        let endpoints = self.endpoints.iter().cloned().map(Change::Endpoint);
        namespaces
            .chain(pods)
            .chain(policies)
            .chain(endpoints)
            .chain([
                Change::HostAddresses(self.host.clone()),
                Change::Services(self.services),
            ])
    }
}

/// Gives verdicts for facts.
#[derive(Clone, Copy, Debug)]
pub struct Oracle<'a> {
    facts: &'a Facts,
}

impl<'a> Oracle<'a> {
    /// The oracle of these facts.
    pub fn new(facts: &'a Facts) -> Self {
        Self { facts }
    }

    /// Whether policy lets a connection of the pod `subject` through in one direction. A pod that
    /// is not known is allowed nothing but the host.
    pub fn allows(
        &self,
        direction: Direction,
        subject: &ObjectName,
        peer: Peer,
        protocol: u8,
        port: Option<u16>,
    ) -> bool {
        // The pod's own node always reaches it, and it always reaches its own node.
        let address = match peer {
            Peer::Host => return true,
            Peer::Address(address) => address,
        };
        if direction == Direction::Egress && self.facts.host.contains(&address) {
            return true;
        }
        let Some(subject) = self.facts.pods.iter().find(|pod| pod.name == *subject) else {
            return false;
        };
        // Host-network pods are not subjects.
        if subject.host_network {
            return true;
        }
        // A pod is isolated when at least one policy of its namespace selects it and covers the
        // direction.
        let isolating: Vec<(&PolicyFact, &[Rule])> = self
            .facts
            .policies
            .iter()
            .filter(|policy| policy.name.namespace == subject.name.namespace)
            .filter(|policy| policy.subjects.matches(&subject.labels))
            .filter_map(|policy| {
                let rules = match direction {
                    Direction::Ingress => policy.ingress.as_deref(),
                    Direction::Egress => policy.egress.as_deref(),
                };
                Some((policy, rules?))
            })
            .collect();
        if isolating.is_empty() {
            return true;
        }
        let other = self.other(address);
        // A pod reaches its own address.
        if other.pod.is_some_and(|pod| pod.name == subject.name) {
            return true;
        }
        // Policies only add permissions.
        isolating.iter().any(|(policy, rules)| {
            let own = &policy.name.namespace;
            rules
                .iter()
                .any(|rule| rule_allows(rule, own, direction, subject, &other, protocol, port))
        })
    }

    /// The same for the pod behind an interface. An interface that is no endpoint is not enforced.
    pub fn allows_interface(
        &self,
        direction: Direction,
        ifindex: u32,
        peer: Peer,
        protocol: u8,
        port: Option<u16>,
    ) -> bool {
        let mut endpoints = self.facts.endpoints.iter();
        let Some(endpoint) = endpoints.find(|endpoint| endpoint.ifindex == ifindex) else {
            return true;
        };
        let nobody = ObjectName::new("", "");
        let subject = endpoint.pod.as_ref().unwrap_or(&nobody);
        self.allows(direction, subject, peer, protocol, port)
    }

    fn other(&self, address: IpAddr) -> Other<'a> {
        // Finished pods and host-network pods have no address; of several pods with one address
        // the best claim counts.
        let pod = self
            .facts
            .pods
            .iter()
            .filter(|pod| !pod.finished && !pod.host_network)
            .filter(|pod| pod.addresses.contains(&address))
            .max_by(|a, b| claim_order(a, b));
        let namespace_labels = pod.and_then(|pod| {
            let mut namespaces = self.facts.namespaces.iter();
            let namespace = namespaces.find(|known| known.name == pod.name.namespace)?;
            Some(&namespace.labels)
        });
        Other {
            address: Some(address),
            pod,
            namespace_labels,
        }
    }
}

/// Running beats not running, then the later start, then the UID.
fn claim_order(a: &PodFact, b: &PodFact) -> Ordering {
    a.running
        .cmp(&b.running)
        .then(a.started.cmp(&b.started))
        .then(a.uid.cmp(&b.uid))
        .then(a.name.cmp(&b.name))
}
