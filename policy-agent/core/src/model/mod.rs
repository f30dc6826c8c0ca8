//! Validated facts about a cluster, as the resolver takes them. No API objects, no defaults left
//! to apply: whoever builds these has done both.

pub mod change;
pub mod literal;
pub mod node;
pub mod peer;
pub mod pod;
pub mod policy;
pub mod protocol;
pub mod selector;
pub mod service;
pub mod shortfall;
pub mod traffic;

pub use change::{Change, EndpointFact};
pub use node::NodeFact;
pub use peer::Peer;
pub use pod::{ContainerPort, NamespaceFact, ObjectName, PodFact, pod_tag};
pub use policy::{IpBlock, PeerMatch, Peers, PolicyFact, PortMatch, Ports, Rule};
pub use protocol::Protocol;
pub use selector::{Labels, Requirement, Selector};
pub use service::ServiceFact;
pub use shortfall::{Lack, Unmet};
pub use traffic::Traffic;
