//! What one rule says, read literally from the specification, for explanations and for the oracle.
//!
//! Shares nothing with the compiler but the meaning of one selector. Invariant: every sentence of
//! the specification is one place here; no indexes, no caches.

use std::{net::IpAddr, sync::Arc};

use policy_common::Direction;

use super::{IpBlock, Labels, PeerMatch, Peers, PodFact, PortMatch, Ports, Protocol, Rule};

/// The other side of a connection: an address, and the pod that has it.
#[derive(Clone, Copy, Debug)]
pub struct Other<'a> {
    /// The address.
    pub address: IpAddr,
    /// The pod that has the address.
    pub pod: Option<&'a PodFact>,
    /// Labels of the pod's namespace, while that is known.
    pub namespace_labels: Option<&'a Labels>,
}

/// Whether one rule of a policy of the namespace `own` allows a connection between the subject and
/// another address.
pub fn rule_allows(
    rule: &Rule,
    own: &Arc<str>,
    direction: Direction,
    subject: &PodFact,
    other: &Other<'_>,
    protocol: u8,
    port: Option<u16>,
) -> bool {
    // Names mean the ports of the pod that receives the connection.
    let destination = match direction {
        Direction::Ingress => Some(subject),
        Direction::Egress => other.pod,
    };
    let peer_matches = match &rule.peers {
        Peers::All => true,
        Peers::AnyOf(peers) => peers.iter().any(|peer| peer_matches(peer, own, other)),
    };
    peer_matches
        && match &rule.ports {
            Ports::All => true,
            Ports::AnyOf(ports) => ports
                .iter()
                .any(|entry| port_matches(entry, destination, protocol, port)),
        }
}

fn peer_matches(peer: &PeerMatch, own: &Arc<str>, other: &Other<'_>) -> bool {
    match peer {
        PeerMatch::Block(block) => block_contains(block, other.address),
        PeerMatch::Pods { namespaces, pods } => {
            let Some(pod) = other.pod else { return false };
            let in_scope = match namespaces {
                None => pod.name.namespace == *own,
                Some(selector) => other
                    .namespace_labels
                    .is_some_and(|labels| selector.matches(labels)),
            };
            in_scope && pods.matches(&pod.labels)
        }
    }
}

fn block_contains(block: &IpBlock, address: IpAddr) -> bool {
    block.cidr.contains(&address) && !block.except.iter().any(|except| except.contains(&address))
}

fn port_matches(
    entry: &PortMatch,
    destination: Option<&PodFact>,
    protocol: u8,
    port: Option<u16>,
) -> bool {
    let is = |of: &Protocol| of.number() == protocol;
    match entry {
        PortMatch::AnyPort(of) => is(of),
        PortMatch::Range(of, first, last) => {
            is(of) && port.is_some_and(|port| (*first..=*last).contains(&port))
        }
        PortMatch::Named(of, name) => {
            is(of)
                && destination.is_some_and(|pod| {
                    pod.ports.iter().any(|declared| {
                        declared.name == *name
                            && declared.protocol == *of
                            && Some(declared.number) == port
                    })
                })
        }
    }
}
