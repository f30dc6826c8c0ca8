//! Nodes of the cluster.

use std::{net::IpAddr, sync::Arc};

/// A node, as other nodes know it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeFact {
    /// Its name.
    pub name: Arc<str>,
    /// The addresses of its interfaces, inside and outside the cluster.
    pub addresses: Vec<IpAddr>,
}
