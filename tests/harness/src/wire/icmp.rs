//! ICMP and ICMPv6 messages.

use std::net::IpAddr;

use super::{checksum, transport::seal};

/// ICMP's number.
pub const ICMP: u8 = 1;
/// ICMPv6's number.
pub const ICMPV6: u8 = 58;

/// The protocol number of an address's family.
#[must_use]
pub fn protocol(family_of: IpAddr) -> u8 {
    if family_of.is_ipv6() { ICMPV6 } else { ICMP }
}

/// A message of any type between two addresses of one family: `rest` is what follows the checksum.
#[must_use]
pub fn message(source: IpAddr, destination: IpAddr, kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(rest);
    if source.is_ipv6() {
        seal(&mut bytes, source, destination, ICMPV6, 2);
    } else {
        let sum = checksum(&[&bytes]).to_be_bytes();
        bytes.splice(2..4, sum);
    }
    bytes
}

/// An echo request.
#[must_use]
pub fn echo_request(source: IpAddr, destination: IpAddr, id: u16, sequence: u16) -> Vec<u8> {
    let kind = if source.is_ipv6() { 128 } else { 8 };
    message(source, destination, kind, 0, &echo(id, sequence))
}

/// An echo reply.
#[must_use]
pub fn echo_reply(source: IpAddr, destination: IpAddr, id: u16, sequence: u16) -> Vec<u8> {
    let kind = if source.is_ipv6() { 129 } else { 0 };
    message(source, destination, kind, 0, &echo(id, sequence))
}

/// Fragmentation needed, or packet too big, about `quoted`: an IP packet, cut to what is quoted.
#[must_use]
pub fn too_big(source: IpAddr, destination: IpAddr, mtu: u16, quoted: &[u8]) -> Vec<u8> {
    let mut rest = u32::from(mtu).to_be_bytes().to_vec();
    rest.extend(quoted);
    let (kind, code) = if source.is_ipv6() { (2, 0) } else { (3, 4) };
    message(source, destination, kind, code, &rest)
}

fn echo(id: u16, sequence: u16) -> Vec<u8> {
    let mut rest = [id.to_be_bytes(), sequence.to_be_bytes()].concat();
    rest.extend(b"policy");
    rest
}
