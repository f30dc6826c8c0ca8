//! What a rule lacks to allow a connection that it does not allow, for people who look for the mistake.
//!
//! Shares its reading with [`literal`](super::literal). Invariant: a rule lacks nothing if and only if
//! it allows the connection.

use std::{fmt, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use policy_common::Direction;

use super::{
    IpBlock, Labels, PeerMatch, Peers, PodFact, PortMatch, Ports, Protocol, Requirement, Rule,
    Selector,
    literal::{Other, destination, port_matches},
};

/// One thing for which a rule does not allow a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The rule's peers are pods, and the other side is none.
    NotAPod,
    /// The rule means pods of its own namespace.
    OtherNamespace {
        /// The rule's.
        wanted: Arc<str>,
        /// The other side's.
        found: Arc<str>,
    },
    /// The labels of the other side's namespace are not known.
    NamespaceUnknown(Arc<str>),
    /// A requirement of the rule's `namespaceSelector`.
    NamespaceLabel(Unmet),
    /// A requirement of the rule's `podSelector`.
    PodLabel(Unmet),
    /// The other side's address is not in the block.
    OutsideBlock(IpNet, IpAddr),
    /// The other side's address is in the block and in an exception of it.
    Excepted {
        /// The block.
        block: IpNet,
        /// The exception.
        except: IpNet,
    },
    /// The rule's peer is a block, and the other side has no address yet.
    NoAddress(IpNet),
    /// The rule has peers, of which none can be read.
    NoPeer,
    /// The rule allows other ports.
    Port(Vec<PortMatch>),
}

/// A requirement that labels do not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The requirement.
    pub requirement: Requirement,
    /// The value of its key, if there is one.
    pub found: Option<Arc<str>>,
}

/// What is missing, at least: of several peers, that of which least is missing.
pub fn lacks(
    rule: &Rule,
    own: &Arc<str>,
    direction: Direction,
    subject: &PodFact,
    other: &Other<'_>,
    protocol: u8,
    port: Option<u16>,
) -> Vec<Lack> {
    let mut lacks = match &rule.peers {
        Peers::All => Vec::new(),
        Peers::AnyOf(peers) => peers
            .iter()
            .map(|peer| of_peer(peer, own, other))
            .min_by_key(Vec::len)
            .unwrap_or_else(|| vec![Lack::NoPeer]),
    };
    if let Ports::AnyOf(ports) = &rule.ports {
        let destination = destination(direction, subject, other);
        let matches = |entry| port_matches(entry, destination, protocol, port);
        if !ports.iter().any(matches) {
            lacks.push(Lack::Port(ports.clone()));
        }
    }
    lacks
}

fn of_peer(peer: &PeerMatch, own: &Arc<str>, other: &Other<'_>) -> Vec<Lack> {
    let (namespaces, pods) = match peer {
        PeerMatch::Block(block) => return of_block(block, other.address).into_iter().collect(),
        PeerMatch::Pods { namespaces, pods } => (namespaces, pods),
    };
    let Some(pod) = other.pod else {
        return vec![Lack::NotAPod];
    };
    let found = &pod.name.namespace;
    let mut lacks = match (namespaces, other.namespace_labels) {
        (None, _) if found == own => Vec::new(),
        (None, _) => vec![Lack::OtherNamespace {
            wanted: own.clone(),
            found: found.clone(),
        }],
        (Some(_), None) => vec![Lack::NamespaceUnknown(found.clone())],
        (Some(selector), Some(labels)) => {
            unmet(selector, labels).map(Lack::NamespaceLabel).collect()
        }
    };
    lacks.extend(unmet(pods, &pod.labels).map(Lack::PodLabel));
    lacks
}

fn of_block(block: &IpBlock, address: Option<IpAddr>) -> Option<Lack> {
    let Some(address) = address else {
        return Some(Lack::NoAddress(block.cidr));
    };
    if !block.cidr.contains(&address) {
        return Some(Lack::OutsideBlock(block.cidr, address));
    }
    let mut excepts = block.except.iter();
    let except = excepts.find(|except| except.contains(&address))?;
    Some(Lack::Excepted {
        block: block.cidr,
        except: *except,
    })
}

fn unmet(selector: &Selector, labels: &Labels) -> impl Iterator<Item = Unmet> {
    let requirements = selector.requirements().iter();
    let unmet = requirements.filter(|requirement| !requirement.matches(labels));
    unmet.map(|requirement| Unmet {
        requirement: requirement.clone(),
        found: requirement.key().and_then(|key| labels.get(key)).cloned(),
    })
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPod => f.write_str("it allows pods, and the other side is none"),
            Self::OtherNamespace { wanted, found } => {
                write!(f, "it allows pods of namespace {wanted}, not of {found}")
            }
            Self::NamespaceUnknown(name) => {
                write!(f, "the labels of namespace {name} are not known")
            }
            Self::NamespaceLabel(unmet) => write!(f, "namespace label: {unmet}"),
            Self::PodLabel(unmet) => write!(f, "pod label: {unmet}"),
            Self::OutsideBlock(block, address) => write!(f, "{address} is not in {block}"),
            Self::Excepted { block, except } => {
                write!(f, "{except} is excepted from {block}")
            }
            Self::NoAddress(block) => write!(f, "it allows {block}, and the address is not known"),
            Self::NoPeer => f.write_str("none of its peers can be read"),
            Self::Port(ports) if ports.is_empty() => f.write_str("none of its ports can be read"),
            Self::Port(ports) => {
                f.write_str("it allows ")?;
                for (index, port) in ports.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{port}")?;
                }
                f.write_str(" only")
            }
        }
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wants {}", self.requirement)?;
        match (&self.found, self.requirement.key()) {
            (Some(found), _) => write!(f, ", has {found:?}"),
            (None, Some(_)) => f.write_str(", has none"),
            (None, None) => Ok(()),
        }
    }
}

/// As a rule's port entry means it: `TCP`, `TCP 80`, `TCP 8000-8999`, `TCP http`.
impl fmt::Display for PortMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol: &Protocol = match self {
            Self::AnyPort(protocol) | Self::Range(protocol, ..) | Self::Named(protocol, _) => {
                protocol
            }
        };
        write!(f, "{protocol}")?;
        match self {
            Self::AnyPort(_) => Ok(()),
            Self::Range(_, first, last) if first == last => write!(f, " {first}"),
            Self::Range(_, first, last) => write!(f, " {first}-{last}"),
            Self::Named(_, name) => write!(f, " {name}"),
        }
    }
}
