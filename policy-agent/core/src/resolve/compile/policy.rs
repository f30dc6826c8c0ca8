//! From the policies that select a pod to the contents of its two rulesets.

use std::sync::Arc;

use policy_common::Direction;
use rustc_hash::FxHashMap;

use super::{
    content::{Content, Item, ItemPorts},
    predicate::{Predicate, PredicateId, Predicates, Scope, Term},
};
use crate::{
    model::{ObjectName, PeerMatch, Peers, PolicyFact, PortMatch, Ports, Protocol, Rule},
    resolve::facts::{
        cluster::Namespace,
        group::{Traits, numbers},
        pod::Pod,
    },
};

/// The rules of a policy that cover a direction; `None` when it does not.
pub(crate) fn rules_of(policy: &PolicyFact, direction: Direction) -> Option<&[Rule]> {
    match direction {
        Direction::Ingress => policy.ingress.as_deref(),
        Direction::Egress => policy.egress.as_deref(),
    }
}

/// The policies that isolate a pod in a direction, by name.
pub(crate) fn policies_of<'a>(
    namespace: &'a Namespace,
    pod: &Pod,
    traits: &'a Traits,
    direction: Direction,
) -> impl Iterator<Item = &'a Arc<PolicyFact>> {
    let is_subject = !pod.host_network;
    namespace.policies.values().filter(move |policy| {
        is_subject
            && rules_of(policy, direction).is_some()
            && policy.subjects.matches(&traits.labels)
    })
}

/// Ports of a rule. On ingress, names resolve on the subject and stay until it is known.
#[derive(Clone, Debug)]
enum Draft {
    Ready(ItemPorts),
    Named(Protocol, Arc<str>),
}

type DraftItem = (Option<PredicateId>, Draft);

/// Compiles the policies of one commit, each once.
pub(crate) struct Compiler<'a> {
    predicates: &'a mut Predicates,
    drafts: FxHashMap<(ObjectName, Direction), Arc<[DraftItem]>>,
}

impl<'a> Compiler<'a> {
    pub(crate) fn new(predicates: &'a mut Predicates) -> Self {
        Self {
            predicates,
            drafts: FxHashMap::default(),
        }
    }

    /// What a pod's ruleset says, and the policies that say it, by name; `None` when the direction
    /// is not isolated.
    pub(crate) fn content(
        &mut self,
        namespace: &Namespace,
        pod: &Pod,
        traits: &Traits,
        direction: Direction,
    ) -> Option<(Content, Arc<[ObjectName]>)> {
        let mut policies = Vec::new();
        let mut items = Vec::new();
        for policy in policies_of(namespace, pod, traits, direction) {
            policies.push(policy.name.clone());
            for (peer, ports) in self.drafts(policy, direction).iter() {
                let mut push = |ports| items.push(Item { peer: *peer, ports });
                match ports {
                    Draft::Ready(ports) => push(*ports),
                    Draft::Named(protocol, name) => {
                        for number in numbers(&traits.ports, *protocol, name) {
                            push(ItemPorts::Range(*protocol, number, number));
                        }
                    }
                }
            }
        }
        (!policies.is_empty()).then(|| (Content::new(direction, items), policies.into()))
    }

    fn drafts(&mut self, policy: &PolicyFact, direction: Direction) -> Arc<[DraftItem]> {
        let key = (policy.name.clone(), direction);
        if let Some(drafts) = self.drafts.get(&key) {
            return drafts.clone();
        }
        let mut drafts = Vec::new();
        for rule in rules_of(policy, direction).unwrap_or_default() {
            let peers = self.peers(&rule.peers, &policy.name.namespace);
            let ports = drafts_of(&rule.ports);
            for peer in peers {
                drafts.extend(ports.iter().map(|ports| match ports {
                    Draft::Named(protocol, name) if direction == Direction::Egress => {
                        let name = Predicate::Name(peer, *protocol, name.clone());
                        let name = self.predicates.intern(name);
                        (peer, Draft::Ready(ItemPorts::Named(name)))
                    }
                    ready => (peer, ready.clone()),
                }));
            }
        }
        let drafts: Arc<[DraftItem]> = drafts.into();
        self.drafts.insert(key, drafts.clone());
        drafts
    }

    fn peers(&mut self, peers: &Peers, namespace: &Arc<str>) -> Vec<Option<PredicateId>> {
        let peers = match peers {
            Peers::All => return vec![None],
            Peers::AnyOf(peers) => peers,
        };
        let predicates = peers.iter().map(|peer| match peer {
            PeerMatch::Pods { namespaces, pods } => Predicate::Term(Term {
                scope: match namespaces {
                    None => Scope::Namespace(namespace.clone()),
                    Some(selector) => Scope::Matching(selector.clone()),
                },
                pods: pods.clone(),
            }),
            PeerMatch::Block(block) => Predicate::Block(block.clone()),
        });
        predicates
            .map(|predicate| Some(self.predicates.intern(predicate)))
            .collect()
    }
}

fn drafts_of(ports: &Ports) -> Vec<Draft> {
    let ports = match ports {
        Ports::All => return vec![Draft::Ready(ItemPorts::Everything)],
        Ports::AnyOf(ports) => ports,
    };
    ports
        .iter()
        .map(|port| match port {
            &PortMatch::AnyPort(protocol) => Draft::Ready(ItemPorts::Protocol(protocol)),
            &PortMatch::Range(protocol, first, last) => {
                Draft::Ready(ItemPorts::Range(protocol, first, last))
            }
            PortMatch::Named(protocol, name) => Draft::Named(*protocol, name.clone()),
        })
        .collect()
}
