//! The other side of a connection, as verdicts see it.

use std::net::IpAddr;

/// The other side of a connection of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// This host itself: it sent the packet, or the packet goes to one of its addresses.
    Host,
    /// Whoever has the address. IPv4-mapped IPv6 addresses are IPv6 addresses.
    Address(IpAddr),
}
