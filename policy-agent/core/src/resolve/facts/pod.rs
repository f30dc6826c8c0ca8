//! What is kept of a pod.
//!
//! Knows nothing of who wins an address that several pods claim.

use std::{net::IpAddr, sync::Arc};

use smallvec::SmallVec;

use super::ids::{AddressId, GroupId};
use crate::model::{ObjectName, PodFact};

/// What is known of a pod, apart from its traits.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) name: ObjectName,
    pub(crate) uid: Arc<str>,
    pub(crate) group: GroupId,
    /// The addresses that it claims: none for a finished or a host-network pod.
    pub(crate) claims: SmallVec<[AddressId; 2]>,
    pub(crate) host_network: bool,
    pub(crate) finished: bool,
    pub(crate) running: bool,
    pub(crate) started: i64,
}

/// The addresses that a pod claims, each once.
pub(crate) fn claimed(pod: &PodFact) -> SmallVec<[IpAddr; 2]> {
    let mut claimed = SmallVec::new();
    if !pod.finished && !pod.host_network {
        let addresses = pod.addresses.iter().copied();
        addresses.for_each(|ip| {
            if !claimed.contains(&ip) {
                claimed.push(ip);
            }
        });
    }
    claimed
}
