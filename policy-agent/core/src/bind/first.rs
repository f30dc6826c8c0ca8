//! Which of an interface's addresses count: those that were seen first.
//!
//! Must not know pods.

use std::net::IpAddr;

/// The addresses that count, and the others, once `now` is seen behind an interface whose addresses
/// were `first`: a family's first sight is kept.
pub(super) fn seen(first: Vec<IpAddr>, now: &[IpAddr]) -> (Vec<IpAddr>, Vec<IpAddr>) {
    let is_known = |address: &IpAddr| {
        first
            .iter()
            .any(|known| known.is_ipv4() == address.is_ipv4() && is_own(known))
    };
    let others = now.iter().filter(|address| !first.contains(address));
    let (later, new): (Vec<_>, Vec<_>) = others.copied().partition(is_known);
    let mut addresses = first;
    addresses.extend(new);
    (addresses, later)
}

/// Whether an address says anything about whose it is: every interface has a link-local one.
fn is_own(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    }
}
