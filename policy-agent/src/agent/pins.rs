//! What an earlier run decided of whose an interface is, as the kernel's tables say it.

use std::{net::IpAddr, sync::Arc};

use policy_common::Endpoint;
use policy_core::bind::{Binder, Pin};

/// A binder that goes on where the earlier run ended, on the node of this name (empty: not known).
pub(super) fn binder(node: &str, earlier: &[Endpoint]) -> Binder {
    let decided = earlier.iter().filter(|endpoint| endpoint.pod_tag != 0);
    let pins = decided.map(|endpoint| Pin {
        ifindex: endpoint.ifindex,
        tag: endpoint.pod_tag,
        addresses: [IpAddr::from(endpoint.v4.0), IpAddr::from(endpoint.v6.0)]
            .into_iter()
            .filter(|address| !address.is_unspecified())
            .collect(),
    });
    Binder::resuming(Arc::from(node), pins)
}
