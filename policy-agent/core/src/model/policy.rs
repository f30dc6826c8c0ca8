//! NetworkPolicies.

use std::sync::Arc;

use ipnet::IpNet;

use super::{pod::ObjectName, protocol::Protocol, selector::Selector};

/// One NetworkPolicy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyFact {
    /// Namespace and name.
    pub name: ObjectName,
    /// Pods of the policy's namespace that it selects.
    pub subjects: Selector,
    /// The rules for connections to the pods; `None` when the policy does not cover ingress.
    /// An empty list isolates and allows nothing.
    pub ingress: Option<Vec<Rule>>,
    /// The rules for connections from the pods; `None` when the policy does not cover egress.
    pub egress: Option<Vec<Rule>>,
}

/// Allows the peers on the ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Who.
    pub peers: Peers,
    /// On which ports.
    pub ports: Ports,
}

/// The peers of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peers {
    /// `from` or `to` absent or empty: everybody.
    All,
    /// Any of these. An empty list (peers that could not be read) matches nobody.
    AnyOf(Vec<PeerMatch>),
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerMatch {
    /// Pods, never host-network ones.
    Pods {
        /// `None`: the policy's own namespace; otherwise namespaces with these labels.
        namespaces: Option<Selector>,
        /// Labels of the pods.
        pods: Selector,
    },
    /// Addresses, pods' too.
    Block(IpBlock),
}

/// A prefix with exceptions, all of one family, host bits masked, exceptions sorted and without
/// repeats.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpBlock {
    /// The prefix.
    pub cidr: IpNet,
    /// Prefixes inside it that are not meant.
    pub except: Vec<IpNet>,
}

/// The ports of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ports {
    /// `ports` absent or empty: every port and protocol, and packets without ports.
    All,
    /// Any of these. An empty list (entries that could not be read) matches nothing.
    AnyOf(Vec<PortMatch>),
}

/// One port entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortMatch {
    /// Every port of the protocol.
    AnyPort(Protocol),
    /// From the first to the last port, both included.
    Range(Protocol, u16, u16),
    /// Every number that the destination pod declares under this name and protocol.
    Named(Protocol, Arc<str>),
}
