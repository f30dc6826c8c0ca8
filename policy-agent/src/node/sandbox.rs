//! What is seen of the other end of an interface, in another namespace, without entering it.
//!
//! Must not know what it is good for.

use std::{collections::BTreeSet, io, net::IpAddr};

use super::{NodeError, link, socket::Requests, view::asking};

/// The addresses of a sandbox's interface. Where it is the only one that leads here and has none of
/// its own – a guest's, or a user-space stack's –, those of the sandbox's other interfaces, and
/// whoever lives behind it has an Ethernet address of its own; else the interface's is told too.
pub(super) fn inside(
    requests: &mut Requests,
    number: i32,
    ifindex: u32,
    is_only: bool,
) -> Result<(Vec<IpAddr>, Option<[u8; 6]>), NodeError> {
    let mut read = |ifindex: u32| -> Result<BTreeSet<IpAddr>, NodeError> {
        let found = match link::addresses(requests, Some(number), ifindex) {
            // Whoever owns the namespace can change addresses without end; the next message comes.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Vec::new(),
            result => result.map_err(asking("addresses of another namespace"))?,
        };
        Ok(found.into_iter().map(|(_, address)| address).collect())
    };
    let is_own = |address: &IpAddr| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    };
    let mut addresses = read(ifindex)?;
    let is_guests = is_only && !addresses.iter().any(is_own);
    if is_guests {
        let others = read(0)?;
        addresses.extend(
            others
                .into_iter()
                .filter(|one| is_own(one) && !one.is_loopback()),
        );
    }
    let addresses = addresses.into_iter().collect();
    if is_guests {
        return Ok((addresses, None));
    }
    let mac = link::mac_inside(requests, number, ifindex);
    Ok((addresses, mac.map_err(asking("link of another namespace"))?))
}
