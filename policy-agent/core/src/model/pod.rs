//! Namespaces and pods.

use std::{net::IpAddr, sync::Arc};

use super::{protocol::Protocol, selector::Labels};

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl ObjectName {
    /// From its parts.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// One Namespace. Its labels include `kubernetes.io/metadata.name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceFact {
    /// The name.
    pub name: Arc<str>,
    /// The labels.
    pub labels: Labels,
}

/// One Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFact {
    /// Namespace and name.
    pub name: ObjectName,
    /// Tells two pods of one name apart; empty when the source has none.
    pub uid: Arc<str>,
    /// The labels.
    pub labels: Labels,
    /// `status.podIPs`, at most one of each family (as the API has it). Ignored for a finished or a
    /// hostNetwork pod, which has no address of its own.
    pub addresses: Vec<IpAddr>,
    /// Named ports of containers and restartable init containers.
    pub ports: Vec<ContainerPort>,
    /// Neither subject nor peer of any policy.
    pub host_network: bool,
    /// Succeeded or Failed.
    pub finished: bool,
    /// Phase Running: wins an address from a pod that is not.
    pub running: bool,
    /// `status.startTime` in seconds since 1970, 0 when absent: the later start wins an address.
    pub started: i64,
}

/// A port that a container declares under a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerPort {
    /// The name.
    pub name: Arc<str>,
    /// The protocol.
    pub protocol: Protocol,
    /// The number.
    pub number: u16,
}
