//! Why a packet passes or not, in the words of the policies.
//!
//! Reads the rules literally, from the facts and not from the tables: an answer that contradicts
//! the kernel shows an error of the compiler instead of repeating it.

use std::net::IpAddr;

use policy_common::Direction;

use crate::{
    model::{
        ObjectName, Peer, PodFact,
        literal::{Other, rule_allows},
    },
    resolve::{
        Resolver,
        compile::policy::{policies_of, rules_of},
    },
};

/// A packet that opens a connection of a pod.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The pod.
    pub pod: &'a ObjectName,
    /// From the pod's side.
    pub direction: Direction,
    /// The other side.
    pub peer: Peer,
    /// IANA number.
    pub protocol: u8,
    /// The destination port, host byte order; `None` for packets without ports.
    pub port: Option<u16>,
}

/// Who the peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerName {
    /// This host.
    Host,
    /// The pod itself.
    Itself,
    /// This pod.
    Pod(ObjectName),
    /// No pod has the address.
    Outside,
}

/// A rule that allows the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowingRule {
    /// The policy.
    pub policy: ObjectName,
    /// Position in the policy's `ingress` or `egress`, from 0.
    pub rule: usize,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whether the packet passes in this direction.
    pub allowed: bool,
    /// No fact about the pod is known: only the host is allowed.
    pub unknown: bool,
    /// Who the peer is.
    pub peer: PeerName,
    /// The policies that isolate the pod in the direction, by name.
    pub isolated_by: Vec<ObjectName>,
    /// The rules that allow the packet.
    pub allowed_by: Vec<AllowingRule>,
}

impl Resolver {
    /// Which policies isolate a pod, and which of their rules allow a packet.
    pub fn explain(&self, question: Question<'_>) -> Explanation {
        let Question {
            pod,
            direction,
            peer,
            protocol,
            port,
        } = question;
        let peer_name = self.name_peer(pod, direction, peer);
        let subject = self.facts.pod(pod);
        let namespace = self.facts.namespaces.get(&pod.namespace);
        let (mut isolated_by, mut allowed_by) = (Vec::new(), Vec::new());
        if let (Some(subject), Some(namespace)) = (subject, namespace) {
            let traits = &self.facts.group_of(subject).traits;
            let fact = self.facts.fact(subject);
            let owner = match peer {
                Peer::Address(address) => self.facts.owner(address),
                Peer::Host => None,
            };
            let owner = owner.map(|owner| self.facts.fact(owner));
            let other = match peer {
                Peer::Host => None,
                Peer::Address(address) => Some(self.other(address, owner.as_ref())),
            };
            for policy in policies_of(namespace, subject, traits, direction) {
                isolated_by.push(policy.name.clone());
                let Some(other) = &other else { continue };
                let rules = rules_of(policy, direction).unwrap_or_default();
                for (index, rule) in rules.iter().enumerate() {
                    let own = &policy.name.namespace;
                    if rule_allows(rule, own, direction, &fact, other, protocol, port) {
                        allowed_by.push(AllowingRule {
                            policy: policy.name.clone(),
                            rule: index,
                        });
                    }
                }
            }
        }
        let always =
            peer_name == PeerName::Host || (subject.is_some() && peer_name == PeerName::Itself);
        let by_policy = isolated_by.is_empty() || !allowed_by.is_empty();
        Explanation {
            allowed: always || (subject.is_some() && by_policy),
            unknown: subject.is_none(),
            peer: peer_name,
            isolated_by,
            allowed_by,
        }
    }

    fn other<'a>(&'a self, address: IpAddr, pod: Option<&'a PodFact>) -> Other<'a> {
        Other {
            address,
            pod,
            namespace_labels: pod.and_then(|pod| {
                let namespace = self.facts.namespaces.get(&pod.name.namespace)?;
                namespace.labels.as_ref()
            }),
        }
    }

    fn name_peer(&self, pod: &ObjectName, direction: Direction, peer: Peer) -> PeerName {
        let Peer::Address(address) = peer else {
            return PeerName::Host;
        };
        let known = self.facts.addresses.find(address);
        if direction == Direction::Egress && known.is_some_and(|known| known.host) {
            return PeerName::Host;
        }
        match self.facts.owner(address) {
            Some(owner) if owner.name == *pod => PeerName::Itself,
            Some(owner) => PeerName::Pod(owner.name.clone()),
            None => PeerName::Outside,
        }
    }
}
