//! Why a packet passes or not, in the words of the policies.
//!
//! Reads the rules literally, from the facts and not from the tables: an answer that contradicts
//! the kernel shows an error of the compiler instead of repeating it.

use std::{net::IpAddr, sync::Arc};

use policy_common::Direction;

use crate::{
    model::{
        Lack, ObjectName, Peer, PodFact, PolicyFact, Traffic,
        literal::{Other, rule_allows, rule_traffic},
        shortfall::lacks,
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

/// A rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleName {
    /// The policy.
    pub policy: ObjectName,
    /// The list that it stands in.
    pub direction: Direction,
    /// Position in the policy's `ingress` or `egress`, from 0.
    pub rule: usize,
}

impl RuleName {
    /// The field of the policy.
    pub fn field(&self) -> String {
        format!("spec.{}[{}]", self.direction.name(), self.rule)
    }
}

/// The rule that lacks least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// The rule.
    pub rule: RuleName,
    /// What it lacks, never empty.
    pub lacks: Vec<Lack>,
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
    pub allowed_by: Vec<RuleName>,
    /// Of the rules that do not allow it the one that lacks least, where none allows it.
    pub nearest: Option<Nearest>,
}

/// One end of a connection, seen from a pod at the other.
pub(super) struct End<'a> {
    pub(super) name: PeerName,
    pub(super) pod: Option<&'a PodFact>,
    /// `None` of a pod without address, and of the host, whose addresses decide nothing.
    pub(super) address: Option<IpAddr>,
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
        let address = match peer {
            Peer::Address(address) => Some(address),
            Peer::Host => None,
        };
        let owner = address.and_then(|address| self.facts.owner(address));
        let owner = owner.map(|owner| self.facts.fact(owner));
        let end = End {
            name: self.name_peer(pod, direction, peer),
            pod: owner.as_ref(),
            address,
        };
        self.explain_end(pod, direction, &end, protocol, port)
    }

    pub(super) fn explain_end(
        &self,
        pod: &ObjectName,
        direction: Direction,
        end: &End<'_>,
        protocol: u8,
        port: Option<u16>,
    ) -> Explanation {
        let subject = self.facts.pod(pod).map(|pod| self.facts.fact(pod));
        let mut isolated_by = Vec::new();
        let mut allowed_by = Vec::new();
        let mut nearest: Option<Nearest> = None;
        if let Some(subject) = &subject {
            let other = self.other(end);
            for policy in self.isolating(subject, direction) {
                isolated_by.push(policy.name.clone());
                if end.name == PeerName::Host {
                    continue;
                }
                let own = &policy.name.namespace;
                let rules = rules_of(policy, direction).unwrap_or_default();
                for (index, rule) in rules.iter().enumerate() {
                    let name = RuleName {
                        policy: policy.name.clone(),
                        direction,
                        rule: index,
                    };
                    if rule_allows(rule, own, direction, subject, &other, protocol, port) {
                        allowed_by.push(name);
                        continue;
                    }
                    let lacks = lacks(rule, own, direction, subject, &other, protocol, port);
                    if nearest
                        .as_ref()
                        .is_none_or(|nearest| lacks.len() < nearest.lacks.len())
                    {
                        nearest = Some(Nearest { rule: name, lacks });
                    }
                }
            }
        }
        let always =
            end.name == PeerName::Host || (subject.is_some() && end.name == PeerName::Itself);
        let by_policy = isolated_by.is_empty() || !allowed_by.is_empty();
        let allowed = always || (subject.is_some() && by_policy);
        Explanation {
            allowed,
            unknown: subject.is_none(),
            peer: end.name.clone(),
            isolated_by,
            allowed_by,
            nearest: nearest.filter(|_| !allowed),
        }
    }

    /// Everything that a pod may exchange with somebody else in a direction.
    pub(super) fn traffic(
        &self,
        subject: &PodFact,
        direction: Direction,
        end: &End<'_>,
    ) -> Traffic {
        if matches!(end.name, PeerName::Host | PeerName::Itself) {
            return Traffic::Everything;
        }
        let other = self.other(end);
        let mut allowed = None;
        for policy in self.isolating(subject, direction) {
            let rules = rules_of(policy, direction).unwrap_or_default();
            let own = &policy.name.namespace;
            let of = rules
                .iter()
                .map(|rule| rule_traffic(rule, own, direction, subject, &other));
            allowed = Some(of.fold(allowed.unwrap_or(Traffic::nothing()), Traffic::or));
        }
        allowed.unwrap_or(Traffic::Everything)
    }

    /// The policies that isolate a pod in a direction, by name.
    pub(super) fn isolating(
        &self,
        subject: &PodFact,
        direction: Direction,
    ) -> impl Iterator<Item = &Arc<PolicyFact>> {
        let namespace = self.facts.namespaces.get(&subject.name.namespace);
        let pod = self.facts.pod(&subject.name);
        let both = namespace.zip(pod).into_iter();
        both.flat_map(move |(namespace, pod)| {
            let traits = &self.facts.group_of(pod).traits;
            policies_of(namespace, pod, traits, direction)
        })
    }

    pub(super) fn other<'a>(&'a self, end: &End<'a>) -> Other<'a> {
        Other {
            address: end.address,
            pod: end.pod,
            namespace_labels: end.pod.and_then(|pod| {
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
