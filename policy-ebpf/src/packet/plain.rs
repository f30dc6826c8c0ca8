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
    let (header, [source, destination]) = header_v4(frame)?;
    let (headers, segment) = header.read(frame)?;
    Some((IpPacket::new(source, destination, &headers), segment))
}

/// The IPv6 packet of a frame.
#[inline(always)]
pub fn v6<B: Bytes + ?Sized>(frame: &B) -> Option<(IpPacket<V6>, Segment)> {
    let (header, [source, destination]) = header_v6(frame)?;
    let (headers, segment) = header.read(frame)?;
    Some((IpPacket::new(source, destination, &headers), segment))
}

/// Source and destination of what [`v4`] reads as a TCP segment, for those who ask no more.
#[inline(always)]
pub fn tcp_v4<B: Bytes + ?Sized>(frame: &B) -> Option<[V4; 2]> {
    let (header, ends) = header_v4(frame)?;
    header.is_tcp(frame).then_some(ends)
}

/// Source and destination of what [`v6`] reads as a TCP segment, for those who ask no more.
#[inline(always)]
pub fn tcp_v6<B: Bytes + ?Sized>(frame: &B) -> Option<[V6; 2]> {
    let (header, ends) = header_v6(frame)?;
    header.is_tcp(frame).then_some(ends)
}

/// What the IP header says of the transport header right behind it.
struct Header {
    transport: usize,
    end: usize,
    hop_limit: u8,
    protocol: u8,
    ports: [u8; 4],
}

#[inline(always)]
fn header_v4<B: Bytes + ?Sized>(frame: &B) -> Option<(Header, [V4; 2])> {
    // As much as a UDP packet has; the ports stand behind the addresses.
    let header: [u8; 28] = frame.linear(B::LINK_HEADER)?;
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    if header[0] != 0x45 || fragment != 0 {
        return None;
    }
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let source = V4([header[12], header[13], header[14], header[15]]);
    let destination = V4([header[16], header[17], header[18], header[19]]);
    let header = Header {
        transport: const { B::LINK_HEADER + 20 },
        end: B::LINK_HEADER + total,
        hop_limit: header[8],
        protocol: header[9],
        ports: [header[20], header[21], header[22], header[23]],
    };
    Some((header, [source, destination]))
}

#[inline(always)]
fn header_v6<B: Bytes + ?Sized>(frame: &B) -> Option<(Header, [V6; 2])> {
    let start = B::LINK_HEADER;
    let transport = const { B::LINK_HEADER + ipv6::HEADER_LEN };
    let [first, _, _, _, high, low, protocol, hop_limit] = frame.linear(start)?;
    if first >> 4 != 6 {
        return None;
    }
    let header = Header {
        transport,
        end: transport + usize::from(u16::from_be_bytes([high, low])),
        hop_limit,
        protocol,
        ports: frame.linear(transport)?,
    };
    let source = V6(frame.linear(start + 8)?);
    let destination = V6(frame.linear(start + 24)?);
    Some((header, [source, destination]))
}

impl Header {
    #[inline(always)]
    fn read<B: Bytes + ?Sized>(&self, frame: &B) -> Option<(Headers, Segment)> {
        let segment = match self.protocol {
            protocol::TCP => self.tcp(frame)?,
            protocol::UDP => Segment::udp(self.ports),
            _ => return None,
        };
        let headers = Headers {
            fragmentable: self.transport,
            transport: self.transport,
            end: self.end,
            fragment: Fragment::WHOLE,
            has_fragment_header: false,
            hop_limit: self.hop_limit,
            protocol: self.protocol,
        };
        self.fits(frame, segment).then_some((headers, segment))
    }

    #[inline(always)]
    fn is_tcp<B: Bytes + ?Sized>(&self, frame: &B) -> bool {
        self.protocol == protocol::TCP
            && self
                .tcp(frame)
                .is_some_and(|segment| self.fits(frame, segment))
    }

    #[inline(always)]
    fn tcp<B: Bytes + ?Sized>(&self, frame: &B) -> Option<Segment> {
        Segment::tcp(self.ports, frame.linear(self.transport + 12)?)
    }

    /// Whether the transport header ends within the packet, and this within the frame.
    #[inline(always)]
    fn fits<B: Bytes + ?Sized>(&self, frame: &B, segment: Segment) -> bool {
        self.transport + segment.header_len() <= self.end && self.end <= frame.length()
    }
}
