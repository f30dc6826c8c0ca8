//! Packets byte by byte: built, sent and caught on interfaces inside namespaces.
//!
//! Builders fill in lengths and checksums; a packet is a plain `Vec<u8>` afterwards, to be broken
//! as a test wishes.

pub mod icmp;
pub mod ip;
pub mod port;
pub mod sctp;
pub mod transport;

pub use self::{
    icmp::{echo_reply, echo_request},
    ip::{Ethernet, Ipv4, Ipv6, arp},
    port::Port,
    transport::{Tcp, udp},
};

/// The Internet checksum (RFC 1071) of `parts`, each of even length but the last.
#[must_use]
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            let high = pair.first().copied().unwrap_or_default();
            let low = pair.get(1).copied().unwrap_or_default();
            sum += u32::from(u16::from_be_bytes([high, low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
