//! What one rule says, read literally from the specification, for explanations and for the oracle.
//!
//! Shares nothing with the compiler but the meaning of one selector. Invariant: every sentence of
//! the specification is one place here; no indexes, no caches.

use std::{net::IpAddr, sync::Arc};

use policy_common::Direction;

use super::{
    IpBlock, Labels, PeerMatch, Peers, PodFact, PortMatch, Ports, Protocol, Rule, Traffic,
    traffic::ALL_PORTS,
};

/// The other side of a connection: an address, and the pod that has it.
#[derive(Clone, Copy, Debug)]
pub struct Other<'a> {
    /// The address; `None` of a pod that has none yet: no block contains it.
    pub address: Option<IpAddr>,
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
    let destination = destination(direction, subject, other);
    has_peer(rule, own, other)
        && match &rule.ports {
            Ports::All => true,
            Ports::AnyOf(ports) => ports
                .iter()
                .any(|entry| port_matches(entry, destination, protocol, port)),
        }
}

/// All that one rule allows between the two.
pub fn rule_traffic(
    rule: &Rule,
    own: &Arc<str>,
    direction: Direction,
    subject: &PodFact,
    other: &Other<'_>,
) -> Traffic {
    if !has_peer(rule, own, other) {
        return Traffic::nothing();
    }
    let Ports::AnyOf(entries) = &rule.ports else {
        return Traffic::Everything;
    };
    let (first, last) = ALL_PORTS;
    let destination = destination(direction, subject, other);
    let entries = entries.iter().flat_map(|entry| match entry {
        PortMatch::AnyPort(of) => vec![Traffic::range(*of, first, last)],
        PortMatch::Range(of, first, last) => vec![Traffic::range(*of, *first, *last)],
        PortMatch::Named(of, name) => {
            let declared = destination.into_iter().flat_map(|pod| &pod.ports);
            let named = declared.filter(|port| port.name == *name && port.protocol == *of);
            named
                .map(|port| Traffic::range(*of, port.number, port.number))
                .collect()
        }
    });
    entries.fold(Traffic::nothing(), Traffic::or)
}

fn has_peer(rule: &Rule, own: &Arc<str>, other: &Other<'_>) -> bool {
    match &rule.peers {
        Peers::All => true,
        Peers::AnyOf(peers) => peers.iter().any(|peer| peer_matches(peer, own, other)),
    }
}

/// Names mean the ports of the pod that receives the connection.
pub(super) fn destination<'a>(
    direction: Direction,
    subject: &'a PodFact,
    other: &Other<'a>,
) -> Option<&'a PodFact> {
    match direction {
        Direction::Ingress => Some(subject),
        Direction::Egress => other.pod,
    }
}

/// Whether the other side is one of the peers that a peer of a policy of the namespace `own` means.
pub fn peer_matches(peer: &PeerMatch, own: &Arc<str>, other: &Other<'_>) -> bool {
    match peer {
        PeerMatch::Block(block) => other
            .address
            .is_some_and(|address| block_contains(block, address)),
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

pub(super) fn port_matches(
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
