//! What a change means to the node: whether its tables must change, said from the facts alone.
//!
//! Knows nothing of the resolver, whose answer is compared with it. Invariant: kept up to date by
//! every change that is measured.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use policy_core::model::{Change, Labels, ObjectName, PeerMatch, Peers, PodFact, PolicyFact};

use super::{cluster::Cluster, policies::policy};

/// The facts that the node's tables depend on.
pub(super) struct Relevance {
    namespaces: HashMap<Arc<str>, Labels>,
    /// The node's pods by namespace.
    local: HashMap<Arc<str>, Vec<PodFact>>,
    /// Of the namespaces of local pods, by name.
    policies: BTreeMap<ObjectName, PolicyFact>,
}

impl Relevance {
    pub(super) fn new(cluster: &Cluster) -> anyhow::Result<Self> {
        let namespaces = cluster.tenants.iter().map(|tenant| {
            let fact = tenant.namespace();
            (fact.name, fact.labels)
        });
        let mut local: HashMap<Arc<str>, Vec<PodFact>> = HashMap::new();
        for pod in cluster.local().map(|pod| cluster.pod(pod)) {
            let pods = local.entry(pod.name.namespace.clone()).or_default();
            pods.push(pod);
        }
        let mut policies = BTreeMap::new();
        let mut tenants: Vec<usize> = cluster.local().map(|pod| pod.tenant as usize).collect();
        tenants.sort_unstable();
        tenants.dedup();
        for tenant in tenants {
            for index in (tenant..cluster.policies).step_by(cluster.tenants.len()) {
                let policy = policy(cluster, index)?;
                policies.insert(policy.name.clone(), policy);
            }
        }
        Ok(Self {
            namespaces: namespaces.collect(),
            local,
            policies,
        })
    }

    /// Takes note of a change.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Namespace(fact) => {
                self.namespaces
                    .insert(fact.name.clone(), fact.labels.clone());
            }
            Change::Pod(fact) => {
                let pods = self.local.get_mut(&fact.name.namespace);
                let known = pods.and_then(|pods| pods.iter_mut().find(|pod| pod.name == fact.name));
                if let Some(pod) = known {
                    pod.clone_from(fact);
                }
            }
            Change::Policy(fact) => {
                if let Some(policy) = self.policies.get_mut(&fact.name) {
                    policy.clone_from(fact);
                }
            }
            _ => {}
        }
    }

    /// The policies that select a pod, as if it were this node's.
    pub(super) fn selecting(&self, pod: &PodFact) -> Vec<&PolicyFact> {
        let policies = self.policies.values().filter(|policy| {
            policy.name.namespace == pod.name.namespace && policy.subjects.matches(&pod.labels)
        });
        policies.collect()
    }

    /// The policies that select one of the node's pods.
    pub(super) fn in_force(&self) -> Vec<&PolicyFact> {
        let policies = self.policies.values().filter(|policy| {
            let pods = self.local.get(&policy.name.namespace).into_iter().flatten();
            let mut pods = pods.filter(|pod| !pod.host_network);
            pods.any(|pod| policy.subjects.matches(&pod.labels))
        });
        policies.collect()
    }

    /// The peers of these policies that mean a pod.
    pub(super) fn peers<'a>(
        &self,
        pod: &PodFact,
        policies: &[&'a PolicyFact],
    ) -> Vec<&'a PeerMatch> {
        let labels = self.namespaces.get(&pod.name.namespace);
        labels.map_or_else(Vec::new, |labels| peers(pod, labels, policies))
    }
}

/// The peers of these policies that mean a pod of a namespace with these labels.
pub(super) fn peers<'a>(
    pod: &PodFact,
    labels: &Labels,
    policies: &[&'a PolicyFact],
) -> Vec<&'a PeerMatch> {
    let mut peers = Vec::new();
    for policy in policies {
        let is_own = policy.name.namespace == pod.name.namespace;
        peers.extend(peers_of(policy).filter(|peer| match peer {
            PeerMatch::Pods { namespaces, pods } => {
                let there = namespaces
                    .as_ref()
                    .map_or(is_own, |selector| selector.matches(labels));
                there && pods.matches(&pod.labels)
            }
            PeerMatch::Block(_) => false,
        }));
    }
    peers
}

/// Whether a peer of these policies means namespaces with the one labels and not with the others.
pub(super) fn tells_apart(one: &Labels, other: &Labels, policies: &[&PolicyFact]) -> bool {
    let mut peers = policies.iter().flat_map(|policy| peers_of(policy));
    peers.any(|peer| match peer {
        PeerMatch::Pods {
            namespaces: Some(selector),
            ..
        } => selector.matches(one) != selector.matches(other),
        _ => false,
    })
}

fn peers_of(policy: &PolicyFact) -> impl Iterator<Item = &PeerMatch> {
    let rules = policy.ingress.iter().chain(&policy.egress).flatten();
    rules.flat_map(|rule| match &rule.peers {
        Peers::All => &[][..],
        Peers::AnyOf(peers) => peers,
    })
}
