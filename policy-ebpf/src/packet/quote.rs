//! The packet that an ICMP error quotes (RFC 792, RFC 4443): often cut short, so only what a flow's
//! key needs is asked for.

use policy_common::{V4, V6};

use super::{Bytes, icmp, ipv4, ipv6, protocol};

/// The quoted packet, as its sender sent it.
#[derive(Clone, Copy, Debug)]
pub struct Quote<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Protocol of the transport header.
    pub protocol: u8,
    /// Source and destination port of the flow's key; nothing when the quoted packet is a later
    /// fragment, belongs to no flow or is cut too short.
    pub ports: Option<([u8; 2], [u8; 2])>,
}

/// The quoted IPv4 packet at `offset`, not beyond `end`.
#[inline(always)]
pub fn parse_v4<B: Bytes + ?Sized>(frame: &B, offset: usize, end: usize) -> Option<Quote<V4>> {
    let header: [u8; ipv4::SHORTEST] = frame.bytes(offset)?;
    let length = ipv4::header_len(header[0]).ok()?;
    if offset + length > end {
        return None;
    }
    let is_later = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    Some(Quote {
        source: V4([header[12], header[13], header[14], header[15]]),
        destination: V4([header[16], header[17], header[18], header[19]]),
        protocol: header[9],
        ports: if is_later {
            None
        } else {
            ports(frame, offset + length, end, header[9])
        },
    })
}

/// The quoted IPv6 packet at `offset`, not beyond `end`.
#[inline(always)]
pub fn parse_v6<B: Bytes + ?Sized>(frame: &B, offset: usize, end: usize) -> Option<Quote<V6>> {
    if offset + ipv6::HEADER_LEN > end {
        return None;
    }
    let [first] = frame.bytes::<1>(offset)?;
    let [next] = frame.bytes::<1>(offset + 6)?;
    if first >> 4 != 6 {
        return None;
    }
    let walk = ipv6::walk(frame, offset + ipv6::HEADER_LEN, end, next).ok()?;
    Some(Quote {
        source: V6(frame.bytes(offset + 8)?),
        destination: V6(frame.bytes(offset + 24)?),
        protocol: walk.protocol,
        ports: if walk.fragment.is_later() {
            None
        } else {
            ports(frame, walk.transport, end, walk.protocol)
        },
    })
}

#[inline(always)]
fn ports<B: Bytes + ?Sized>(
    frame: &B,
    at: usize,
    end: usize,
    number: u8,
) -> Option<([u8; 2], [u8; 2])> {
    match number {
        protocol::TCP | protocol::UDP | protocol::SCTP if at + 4 <= end => {
            let [s0, s1, d0, d1] = frame.bytes(at)?;
            Some(([s0, s1], [d0, d1]))
        }
        protocol::ICMP | protocol::ICMPV6 if at + 6 <= end => {
            let [kind, _, _, _, i0, i1] = frame.bytes(at)?;
            if icmp::is_echo_request(number, kind) {
                Some(([i0, i1], [0, 0]))
            } else if icmp::is_echo(number, kind) {
                Some(([0, 0], [i0, i1]))
            } else {
                None
            }
        }
        protocol::TCP | protocol::UDP | protocol::SCTP | protocol::ICMP | protocol::ICMPV6 => None,
        _ => Some(([0, 0], [0, 0])),
    }
}
