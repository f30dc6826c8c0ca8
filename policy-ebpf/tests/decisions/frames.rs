//! Frames, byte by byte. Checksums are zero: nobody here reads them.

use std::net::IpAddr;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const SCTP: u8 = 132;
pub(crate) const ICMP: u8 = 1;
pub(crate) const ICMPV6: u8 = 58;

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// The hardware addresses of every frame.
pub(crate) const TO: [u8; 6] = [2, 0, 0, 0, 0, 9];
pub(crate) const FROM: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// An Ethernet frame.
pub(crate) fn frame(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [TO, FROM].concat();
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// What an IP header says besides addresses and protocol.
#[derive(Clone, Copy)]
pub(crate) struct Header<'a> {
    /// TTL or hop limit.
    pub(crate) hops: u8,
    /// IPv4 options, of a length that is a multiple of four.
    pub(crate) options: &'a [u8],
    /// IPv4 fragment: offset in bytes, more, identification.
    pub(crate) fragment: (u16, bool, u16),
    /// IPv6 extension headers: number and the whole header, whose first byte is overwritten.
    pub(crate) extensions: &'a [(u8, &'a [u8])],
}

pub(crate) const PLAIN: Header<'static> = Header {
    hops: 64,
    options: &[],
    fragment: (0, false, 7),
    extensions: &[],
};

/// A frame with an IP packet.
pub(crate) fn ip(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    ip_with(PLAIN, source, destination, protocol, payload)
}

/// The same with another header.
pub(crate) fn ip_with(
    header: Header<'_>,
    source: &str,
    destination: &str,
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let packet = packet(header, source, destination, protocol, payload);
    let v6 = packet[0] >> 4 == 6;
    frame(if v6 { 0x86dd } else { 0x0800 }, &packet)
}

/// An IP packet without a frame, as errors quote it.
pub(crate) fn packet(
    header: Header<'_>,
    source: &str,
    destination: &str,
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let parse = |text: &str| text.parse().expect("an address");
    match (parse(source), parse(destination)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let length = 20 + header.options.len();
            let (offset, more, id) = header.fragment;
            let mut packet = vec![0x40 | (length / 4) as u8, 0];
            packet.extend(((length + payload.len()) as u16).to_be_bytes());
            packet.extend(id.to_be_bytes());
            packet.extend(((offset / 8) | (u16::from(more) << 13)).to_be_bytes());
            packet.extend([header.hops, protocol, 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(header.options);
            packet.extend(payload);
            packet
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut numbers: Vec<u8> = header.extensions.iter().map(|(n, _)| *n).collect();
            numbers.push(protocol);
            let mut rest = Vec::new();
            for ((_, bytes), next) in header.extensions.iter().zip(&numbers[1..]) {
                rest.push(*next);
                rest.extend(&bytes[1..]);
            }
            rest.extend(payload);
            let mut packet = vec![0x60, 0, 0, 0];
            packet.extend((rest.len() as u16).to_be_bytes());
            packet.extend([numbers[0], header.hops]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(rest);
            packet
        }
        _ => panic!("addresses of two families"),
    }
}

pub(crate) fn ports(source: u16, destination: u16) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

/// A segment of a connection that has come no further than its handshake: either side's SYN has number
/// 1, and what follows is behind it.
pub(crate) fn tcp(source: u16, destination: u16, flags: u8) -> Vec<u8> {
    let sequence = if flags & SYN != 0 { 1 } else { 2 };
    tcp_at(source, destination, flags, sequence, 2, 0)
}

/// A segment with sequence number, acknowledged number and so many bytes.
pub(crate) fn tcp_at(
    source: u16,
    destination: u16,
    flags: u8,
    sequence: u32,
    acknowledged: u32,
    payload: usize,
) -> Vec<u8> {
    let acknowledged = if flags & ACK != 0 { acknowledged } else { 0 };
    let mut segment = ports(source, destination);
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledged.to_be_bytes());
    segment.extend([5 << 4, flags, 1, 0, 0, 0, 0, 0]);
    segment.resize(20 + payload, 0);
    segment
}

pub(crate) fn udp(source: u16, destination: u16) -> Vec<u8> {
    let mut datagram = ports(source, destination);
    datagram.extend([0, 8, 0, 0]);
    datagram
}

pub(crate) fn sctp(source: u16, destination: u16, chunk: u8) -> Vec<u8> {
    let mut packet = ports(source, destination);
    packet.extend([0, 0, 0, 0, 0, 0, 0, 0, chunk, 0, 0, 4]);
    packet
}

/// An SCTP packet with a verification tag, whose chunk has an initiate tag.
pub(crate) fn sctp_at(
    source: u16,
    destination: u16,
    chunk: u8,
    tag: u32,
    initiate: u32,
) -> Vec<u8> {
    let mut packet = ports(source, destination);
    packet.extend(tag.to_be_bytes());
    packet.extend([0, 0, 0, 0, chunk, 0, 0, 20]);
    packet.extend(initiate.to_be_bytes());
    packet.resize(32, 0);
    packet
}

/// An ICMP message: type, code, and what follows the checksum.
pub(crate) fn icmp(kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest);
    message
}

/// An echo message with an identifier.
pub(crate) fn echo(kind: u8, id: u16) -> Vec<u8> {
    icmp(kind, 0, &[id.to_be_bytes(), [0, 1]].concat())
}

/// An IPv6 fragment header, to stand among extensions.
pub(crate) fn fragment_header(offset: u16, more: bool, id: u8) -> [u8; 8] {
    let [high, low] = (offset | u16::from(more)).to_be_bytes();
    [0, 0, high, low, 0, 0, 0, id]
}

/// What the router alert of a group report looks like in IPv6.
pub(crate) const ALERT: (u8, &[u8]) = (0, &[0, 0, 5, 2, 0, 0, 1, 0]);

/// A report of MLD, version 2, about groups.
pub(crate) fn listener_report(source: &str, to: &str, hops: u8, groups: &[&str]) -> Vec<u8> {
    let mut rest = vec![0, 0, 0, groups.len() as u8];
    for group in groups {
        rest.extend([4, 0, 0, 0]);
        rest.extend(crate::node::v6(group).0);
    }
    let header = Header {
        hops,
        extensions: &[ALERT],
        ..PLAIN
    };
    ip_with(header, source, to, ICMPV6, &icmp(143, 0, &rest))
}
