//! Services of the cluster.

use std::net::IpAddr;

use super::pod::ObjectName;

/// A Service, as those who call it know it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceFact {
    /// Its name.
    pub name: ObjectName,
    /// The addresses by which it is called: its own inside the cluster, external ones and those of load
    /// balancers.
    pub addresses: Vec<IpAddr>,
}
