//! What can happen to the resolver's input.

use std::{net::IpAddr, sync::Arc};

use policy_common::EndpointId;

use super::{
    node::NodeFact,
    pod::{NamespaceFact, ObjectName, PodFact},
    policy::PolicyFact,
    service::ServiceFact,
};

/// One change of the cluster or of this node. Changes carry whole objects: applying one twice is
/// applying it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A namespace exists with these labels.
    Namespace(NamespaceFact),
    /// A namespace is gone. Its pods and policies are removed by changes of their own.
    NamespaceRemoved(Arc<str>),
    /// A pod exists like this.
    Pod(PodFact),
    /// A pod is gone.
    PodRemoved(ObjectName),
    /// A policy exists like this.
    Policy(PolicyFact),
    /// A policy is gone.
    PolicyRemoved(ObjectName),
    /// A node of the cluster exists like this. No rule depends on one.
    Node(NodeFact),
    /// A node is gone.
    NodeRemoved(Arc<str>),
    /// A Service exists like this. No rule depends on one.
    Service(ServiceFact),
    /// A Service is gone.
    ServiceRemoved(ObjectName),
    /// An interface of this node is (still) this endpoint.
    Endpoint(EndpointFact),
    /// The interface is gone, or no endpoint any more.
    EndpointRemoved(u32),
    /// All addresses of this host's interfaces, without loopback, replacing the last list.
    HostAddresses(Vec<IpAddr>),
    /// Who is meant by Services' addresses is judged when they are translated, instead of the addresses as they are.
    /// The number tells one list of them from another; 0: there are none, or nobody judges later.
    Services(u64),
}

/// One host-side interface of a pod on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointFact {
    /// Index of the host-side interface.
    pub ifindex: u32,
    /// The number of the endpoint, chosen by the caller, unique among live endpoints.
    pub id: EndpointId,
    /// Index of the bridge whose port the interface is.
    pub bridge: Option<u32>,
    /// The pod; `None` while it is not known: the endpoint then denies everything but the host.
    pub pod: Option<ObjectName>,
    /// [`pod_tag`](super::pod_tag) of the pod that the interface is known to be of, also while the
    /// pod itself is not known; 0 when nothing was ever decided. The next run reads it back.
    pub tag: u64,
    /// The addresses that it may send from while its pod is not known: the last pod's, else those
    /// that were there when the interface was first seen.
    pub own: Vec<IpAddr>,
    /// The Ethernet address that its frames must carry; `None` leaves it unchecked.
    pub mac: Option<[u8; 6]>,
    /// Its link-local address is the one made of `mac`, and no other.
    pub eui_64: bool,
}
