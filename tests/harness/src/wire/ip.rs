//! Ethernet, ARP, IPv4 and IPv6 headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum;

/// The broadcast hardware address.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// An Ethernet header.
#[derive(Clone, Debug)]
pub struct Ethernet {
    /// Where to.
    pub destination: [u8; 6],
    /// Where from.
    pub source: [u8; 6],
    /// VLAN tags (802.1Q), outermost first, between the addresses and the ethertype.
    pub vlans: Vec<u16>,
}

impl Ethernet {
    /// Without tags.
    #[must_use]
    pub fn new(source: [u8; 6], destination: [u8; 6]) -> Self {
        Self {
            destination,
            source,
            vlans: Vec::new(),
        }
    }

    /// A frame of any ethertype.
    #[must_use]
    pub fn frame(&self, ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = [self.destination, self.source].concat();
        for vlan in &self.vlans {
            frame.extend(0x8100_u16.to_be_bytes());
            frame.extend(vlan.to_be_bytes());
        }
        frame.extend(ethertype.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// A frame around an IP packet, whose version gives the ethertype.
    #[must_use]
    pub fn ip(&self, packet: &[u8]) -> Vec<u8> {
        let v6 = packet.first().is_some_and(|first| first >> 4 == 6);
        self.frame(if v6 { 0x86dd } else { 0x0800 }, packet)
    }
}

/// The payload of an ARP request (operation 1) or reply (2).
#[must_use]
pub fn arp(operation: u16, sender: ([u8; 6], Ipv4Addr), target: ([u8; 6], Ipv4Addr)) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4];
    packet.extend(operation.to_be_bytes());
    for (mac, address) in [sender, target] {
        packet.extend(mac);
        packet.extend(address.octets());
    }
    packet
}

/// An IPv4 header.
#[derive(Clone, Debug)]
pub struct Ipv4 {
    /// Where from.
    pub source: Ipv4Addr,
    /// Where to.
    pub destination: Ipv4Addr,
    /// The payload's protocol.
    pub protocol: u8,
    /// Hops left.
    pub ttl: u8,
    /// Identification, which joins fragments.
    pub id: u16,
    /// Options, padded with zeros to a multiple of four.
    pub options: Vec<u8>,
    /// Fragment offset in bytes, a multiple of eight.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
}

impl Ipv4 {
    /// Without options, whole.
    #[must_use]
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> Self {
        Self {
            source,
            destination,
            protocol,
            ttl: 64,
            id: 0x1234,
            options: Vec::new(),
            offset: 0,
            more: false,
        }
    }

    /// The packet.
    #[must_use]
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let options = self.options.len().next_multiple_of(4);
        let header = 20 + options;
        let total = u16::try_from(header + payload.len()).unwrap_or(u16::MAX);
        let fragment = (self.offset / 8) | (u16::from(self.more) << 13);
        let mut packet = vec![0x40 | (header / 4) as u8, 0];
        packet.extend(total.to_be_bytes());
        packet.extend(self.id.to_be_bytes());
        packet.extend(fragment.to_be_bytes());
        packet.extend([self.ttl, self.protocol, 0, 0]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        packet.extend(&self.options);
        packet.resize(header, 0);
        let sum = checksum(&[&packet]).to_be_bytes();
        packet.splice(10..12, sum);
        packet.extend(payload);
        packet
    }

    /// The payload in fragments of at most `size` (a multiple of eight) bytes each.
    #[must_use]
    pub fn fragments(&self, payload: &[u8], size: u16) -> Vec<Vec<u8>> {
        let pieces = payload.chunks(usize::from(size)).enumerate();
        let last = payload.len().div_ceil(usize::from(size)).saturating_sub(1);
        pieces
            .map(|(number, piece)| {
                let fragment = Self {
                    offset: self.offset + number as u16 * size,
                    more: self.more || number < last,
                    ..self.clone()
                };
                fragment.packet(piece)
            })
            .collect()
    }
}

/// An IPv6 header with extension headers.
#[derive(Clone, Debug)]
pub struct Ipv6 {
    /// Where from.
    pub source: Ipv6Addr,
    /// Where to.
    pub destination: Ipv6Addr,
    /// The payload's protocol, behind all extension headers.
    pub protocol: u8,
    /// Hops left.
    pub hop_limit: u8,
    /// Extension headers in their order.
    pub extensions: Vec<Extension>,
}

/// An IPv6 extension header.
#[derive(Clone, Debug)]
pub enum Extension {
    /// Hop-by-hop (0), routing (43), destination options (60) or any other of that form: its
    /// number and its bytes after the next header and the length, padded to fill 8-byte units
    /// (hop-by-hop and destination options with Pad1 or PadN).
    Plain(u8, Vec<u8>),
    /// Fragment (44).
    Fragment {
        /// In bytes, a multiple of eight.
        offset: u16,
        /// More follow.
        more: bool,
        /// Identification.
        id: u32,
    },
    /// Authentication (51), counted in 4-byte units, with so many bytes of check value.
    Authentication(usize),
}

impl Extension {
    fn number(&self) -> u8 {
        match self {
            Self::Plain(number, _) => *number,
            Self::Fragment { .. } => 44,
            Self::Authentication(_) => 51,
        }
    }

    fn bytes(&self, next: u8) -> Vec<u8> {
        match self {
            Self::Plain(number, body) => {
                let length = (body.len() + 2).next_multiple_of(8);
                let mut bytes = vec![next, (length / 8 - 1) as u8];
                bytes.extend(body);
                match length - bytes.len() {
                    0 | 1 => {}
                    gap if [0, 60].contains(number) => bytes.extend([1, (gap - 2) as u8]),
                    _ => {}
                }
                bytes.resize(length, 0);
                bytes
            }
            Self::Fragment { offset, more, id } => {
                let mut bytes = vec![next, 0];
                bytes.extend((offset | u16::from(*more)).to_be_bytes());
                bytes.extend(id.to_be_bytes());
                bytes
            }
            Self::Authentication(check) => {
                // RFC 4302: a multiple of eight bytes in IPv6, counted in fours, less two.
                let length = (12 + check).next_multiple_of(8);
                let mut bytes = vec![next, (length / 4 - 2) as u8];
                bytes.resize(length, 0);
                bytes
            }
        }
    }
}

impl Ipv6 {
    /// Without extension headers.
    #[must_use]
    pub fn new(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8) -> Self {
        Self {
            source,
            destination,
            protocol,
            hop_limit: 64,
            extensions: Vec::new(),
        }
    }

    /// The same with one more extension header at the end.
    #[must_use]
    pub fn with(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// The packet.
    #[must_use]
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut numbers: Vec<u8> = self.extensions.iter().map(Extension::number).collect();
        numbers.push(self.protocol);
        let mut rest = Vec::new();
        for (extension, next) in self.extensions.iter().zip(numbers.iter().skip(1)) {
            rest.extend(extension.bytes(*next));
        }
        rest.extend(payload);
        let length = u16::try_from(rest.len()).unwrap_or(u16::MAX);
        let first = numbers.first().copied().unwrap_or(self.protocol);
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([first, self.hop_limit]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        packet.extend(rest);
        packet
    }

    /// The payload in fragments of at most `size` (a multiple of eight) bytes each, every one with
    /// the extension headers before its fragment header.
    #[must_use]
    pub fn fragments(&self, payload: &[u8], size: u16, id: u32) -> Vec<Vec<u8>> {
        let last = payload.len().div_ceil(usize::from(size)).saturating_sub(1);
        let pieces = payload.chunks(usize::from(size)).enumerate();
        pieces
            .map(|(number, piece)| {
                let fragment = Extension::Fragment {
                    offset: number as u16 * size,
                    more: number < last,
                    id,
                };
                self.clone().with(fragment).packet(piece)
            })
            .collect()
    }
}

/// A packet of the addresses' family without options.
///
/// # Panics
/// When the addresses are not of one family.
#[must_use]
pub fn packet(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            Ipv4::new(source, destination, protocol).packet(payload)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Ipv6::new(source, destination, protocol).packet(payload)
        }
        _ => panic!("{source} and {destination} are not of one family"),
    }
}

/// What transport checksums cover besides the payload (RFC 793, RFC 8200).
#[must_use]
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}
