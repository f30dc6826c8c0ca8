//! Who there is to be asked about: pods that no rule tells apart, and the parts of the world outside that
//! rules tell apart.
//!
//! Invariant: what two members of one class may exchange with anybody is the same, but with themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use policy_common::Direction;

use crate::{
    model::{
        ContainerPort, ObjectName, PeerMatch, Peers, PodFact, PortMatch, Ports, Protocol, Rule,
        literal::peer_matches,
    },
    resolve::{Resolver, compile::policy::rules_of},
};

use super::explain::{End, PeerName};

/// Pods of which every rule says the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class {
    /// Their names, in order; never empty.
    pub pods: Vec<ObjectName>,
}

/// Addresses outside the cluster of which every rule says the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Region {
    /// They are in this block, and in none of the blocks inside it that rules mention.
    pub block: IpNet,
    /// One of them, that no pod has.
    pub example: IpAddr,
}

/// Everything that rules can ask about a pod.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Signature {
    isolated_by: [Vec<ObjectName>; 2],
    addresses: Vec<Seen>,
    ports: Vec<ContainerPort>,
}

/// A pod, as rules see it by one of its addresses, if it has one.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    is_v4: Option<bool>,
    /// It is this host's too.
    is_host: bool,
    /// The peers that mean it.
    peers: Vec<usize>,
}

/// What all rules ask about others.
#[derive(Debug, Default)]
struct Asked<'a> {
    /// With the namespace of their policy.
    peers: BTreeSet<(&'a Arc<str>, &'a PeerMatch)>,
    names: BTreeSet<(Protocol, &'a Arc<str>)>,
}

impl Resolver {
    /// The pods that policies see: those that have not finished, have not lost their addresses to others
    /// and are not on their node's network.
    pub fn classes(&self) -> Vec<Class> {
        let asked = self.asked();
        let mut classes: BTreeMap<Signature, Vec<ObjectName>> = BTreeMap::new();
        let mut names: Vec<_> = self.facts.pod_ids.iter().collect();
        names.sort();
        for (name, &id) in names {
            let pod = &self.facts.pods[id as usize];
            let addresses: Vec<_> = self.facts.addresses_of(id).collect();
            let is_lost = addresses.is_empty() && !pod.claims.is_empty();
            if pod.host_network || pod.finished || is_lost {
                continue;
            }
            let signature = self.signature(&self.facts.fact(pod), &addresses, &asked);
            classes.entry(signature).or_default().push(name.clone());
        }
        let mut classes: Vec<_> = classes.into_values().map(|pods| Class { pods }).collect();
        classes.sort();
        classes
    }

    /// All blocks and exceptions of all policies.
    pub fn blocks(&self) -> BTreeSet<IpNet> {
        let asked = self.asked();
        let blocks = asked.peers.into_iter().filter_map(|(_, peer)| match peer {
            PeerMatch::Block(block) => Some(block),
            PeerMatch::Pods { .. } => None,
        });
        blocks
            .flat_map(|block| block.except.iter().copied().chain([block.cidr]))
            .collect()
    }

    /// Whether a pod has the address.
    pub fn has_pod(&self, address: IpAddr) -> bool {
        self.facts.owner(address).is_some()
    }

    fn asked(&self) -> Asked<'_> {
        let mut asked = Asked::default();
        for namespace in self.facts.namespaces.values() {
            for policy in namespace.policies.values() {
                let own = &policy.name.namespace;
                for direction in [Direction::Ingress, Direction::Egress] {
                    let rules = rules_of(policy, direction).unwrap_or_default();
                    rules.iter().for_each(|rule| asked.by(own, rule));
                }
            }
        }
        asked
    }

    fn signature(&self, pod: &PodFact, addresses: &[IpAddr], asked: &Asked<'_>) -> Signature {
        let isolated_by = [Direction::Ingress, Direction::Egress].map(|direction| {
            let policies = self.isolating(pod, direction);
            policies.map(|policy| policy.name.clone()).collect()
        });
        let seen = |address: Option<IpAddr>| {
            let end = End {
                name: PeerName::Pod(pod.name.clone()),
                pod: Some(pod),
                address,
            };
            let other = self.other(&end);
            let peers = asked.peers.iter().enumerate();
            let matching = peers.filter(|(_, (own, peer))| peer_matches(peer, own, &other));
            let known = address.and_then(|address| self.facts.addresses.find(address));
            Seen {
                is_v4: address.map(|address| address.is_ipv4()),
                is_host: known.is_some_and(|known| known.host),
                peers: matching.map(|(index, _)| index).collect(),
            }
        };
        let mut ports: Vec<_> = pod.ports.clone();
        ports.retain(|port| asked.names.contains(&(port.protocol, &port.name)));
        ports.sort();
        Signature {
            isolated_by,
            addresses: match addresses {
                [] => vec![seen(None)],
                addresses => addresses.iter().copied().map(Some).map(seen).collect(),
            },
            ports,
        }
    }
}

impl<'a> Asked<'a> {
    fn by(&mut self, own: &'a Arc<str>, rule: &'a Rule) {
        if let Peers::AnyOf(peers) = &rule.peers {
            self.peers.extend(peers.iter().map(|peer| (own, peer)));
        }
        if let Ports::AnyOf(ports) = &rule.ports {
            self.names
                .extend(ports.iter().filter_map(|port| match port {
                    PortMatch::Named(protocol, name) => Some((*protocol, name)),
                    PortMatch::AnyPort(_) | PortMatch::Range(..) => None,
                }));
        }
    }
}

/// The regions that these blocks make, with what is in none of them last. `is_pods` says which addresses
/// are not outside.
pub fn regions(blocks: &BTreeSet<IpNet>, is_pods: impl Fn(IpAddr) -> bool) -> Vec<Region> {
    let everywhere = ["0.0.0.0/0", "::/0"].map(|all| all.parse::<IpNet>().ok());
    let rest = everywhere.into_iter().flatten();
    let rest: Vec<_> = rest.filter(|all| !blocks.contains(all)).collect();
    let all = blocks.iter().copied().chain(rest);
    all.filter_map(|block| {
        let inside: Vec<_> = blocks
            .iter()
            .filter(|inner| **inner != block && block.contains(*inner))
            .collect();
        let example = example(block, &inside, &is_pods)?;
        Some(Region { block, example })
    })
    .collect()
}

/// The first address of a block that is in none of the blocks inside it and that no pod has.
fn example(block: IpNet, inside: &[&IpNet], is_pods: &impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut candidate = block.network();
    loop {
        let holes = inside.iter().filter(|inner| inner.contains(&candidate));
        let last = match holes.map(|inner| inner.broadcast()).max() {
            Some(last) => last,
            None if is_pods(candidate) => candidate,
            None => return Some(candidate),
        };
        if last >= block.broadcast() {
            return None;
        }
        candidate = after(last)?;
    }
}

fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => Some(IpAddr::V4(u32::from(address).checked_add(1)?.into())),
        IpAddr::V6(address) => Some(IpAddr::V6(u128::from(address).checked_add(1)?.into())),
    }
}
