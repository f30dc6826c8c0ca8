//! Namespaces and pods.

use std::{net::IpAddr, sync::Arc};

use super::{protocol::Protocol, selector::Labels};

/// Namespace and name of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamespaceFact {
    /// The name.
    pub name: Arc<str>,
    /// The labels.
    pub labels: Labels,
}

/// One Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PodFact {
    /// Namespace and name.
    pub name: ObjectName,
    /// Tells two pods of one name apart, as the node's runtime knows them: a static pod's is that
    /// of its file, not that of its mirror. Empty when the source has none.
    pub uid: Arc<str>,
    /// The node it runs on, `spec.nodeName`; empty when that is not said.
    pub node: Arc<str>,
    /// It is there and cannot be read to the end: nobody as a peer, and its interface is that of an
    /// unknown pod, isolated in both directions. Only name, UID, node and addresses count.
    pub unreadable: bool,
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
    /// It is being deleted: its interface may go at any time.
    pub terminating: bool,
    /// `status.startTime` in seconds since 1970, 0 when absent: the later start wins an address.
    pub started: i64,
}

/// What tells a pod from any other in every run: FNV-1a over UID, namespace and name, never 0.
pub fn pod_tag(name: &ObjectName, uid: &str) -> u64 {
    let parts = [uid, "/", &name.namespace, "/", &name.name];
    let bytes = parts.iter().flat_map(|part| part.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.max(1)
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
