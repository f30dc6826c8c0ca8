//! The short way to read what almost every packet is: TCP or UDP behind an IP header without
//! options, extension headers or fragmentation, all of it in the linear part of the frame.
//!
//! Invariant: what is read here, the parsers of this module's siblings read the same; about
//! everything else they decide.

use policy_common::{V4, V6};

use super::{Bytes, Fragment, Headers, IpPacket, Segment, ipv6, protocol};

/// The IPv4 packet of a frame.
#[inline(always)]
pub fn v4<B: Bytes + ?Sized>(frame: &B) -> Option<(IpPacket<V4>, Segment)> {
    let transport = const { B::LINK_HEADER + 20 };
    // As much as a UDP packet has; the ports stand behind the addresses.
    let header: [u8; 28] = frame.linear(B::LINK_HEADER)?;
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    if header[0] != 0x45 || fragment != 0 {
        return None;
    }
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let ports = [header[20], header[21], header[22], header[23]];
    let headers = headers(transport, B::LINK_HEADER + total, header[8], header[9]);
    let segment = segment(frame, ports, &headers)?;
    let source = V4([header[12], header[13], header[14], header[15]]);
    let destination = V4([header[16], header[17], header[18], header[19]]);
    Some((IpPacket::new(frame, source, destination, &headers), segment))
}

/// The IPv6 packet of a frame.
#[inline(always)]
pub fn v6<B: Bytes + ?Sized>(frame: &B) -> Option<(IpPacket<V6>, Segment)> {
    let start = B::LINK_HEADER;
    let transport = const { B::LINK_HEADER + ipv6::HEADER_LEN };
    let [first, _, _, _, high, low, next, hop_limit] = frame.linear(start)?;
    if first >> 4 != 6 {
        return None;
    }
    let payload = usize::from(u16::from_be_bytes([high, low]));
    let headers = headers(transport, transport + payload, hop_limit, next);
    let segment = segment(frame, frame.linear(transport)?, &headers)?;
    let source = V6(frame.linear(start + 8)?);
    let destination = V6(frame.linear(start + 24)?);
    Some((IpPacket::new(frame, source, destination, &headers), segment))
}

#[inline(always)]
const fn headers(transport: usize, end: usize, hop_limit: u8, protocol: u8) -> Headers {
    Headers {
        fragmentable: transport,
        transport,
        end,
        fragment: Fragment::WHOLE,
        has_fragment_header: false,
        hop_limit,
        protocol,
    }
}

#[inline(always)]
fn segment<B: Bytes + ?Sized>(frame: &B, ports: [u8; 4], headers: &Headers) -> Option<Segment> {
    let transport = headers.transport;
    let segment = match headers.protocol {
        protocol::TCP => Segment::tcp(ports, frame.linear(transport + 12)?)?,
        protocol::UDP => Segment::udp(ports),
        _ => return None,
    };
    let fits = transport + segment.header_len() <= headers.end && headers.end <= frame.length();
    fits.then_some(Segment(frame.forget(segment.0)))
}
