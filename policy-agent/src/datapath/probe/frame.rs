//! The frame of a packet that is asked about.

use std::net::IpAddr;

use policy_common::Direction;

/// A packet that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    /// Who sends it.
    pub source: IpAddr,
    /// To whom; of the same family.
    pub destination: IpAddr,
    /// What is in it.
    pub transport: Transport,
    /// The source port, or the identifier of an echo request.
    pub source_port: u16,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP to a port.
    Tcp {
        /// The destination port.
        port: u16,
        /// A segment of a connection that exists, instead of one that opens one.
        is_within: bool,
    },
    /// UDP to a port.
    Udp {
        /// The destination port.
        port: u16,
    },
    /// SCTP to a port.
    Sctp {
        /// The destination port.
        port: u16,
        /// A chunk of an association that exists, instead of one that opens one.
        is_within: bool,
    },
    /// ICMP of the family.
    Icmp(Echo),
}

/// A message of ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// Asks.
    Request,
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Nobody looks at it: the address of the host's end, or of whoever sends to the pod.
const OTHER_END: [u8; 6] = [2, 0, 0, 0, 0, 1];

impl Probed {
    /// The frame at a hook of the pod that has this Ethernet address.
    pub(super) fn frame(&self, direction: Direction, mac: [u8; 6]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(128);
        let (to, from) = match direction {
            Direction::Egress => (OTHER_END, mac),
            Direction::Ingress => (mac, OTHER_END),
        };
        frame.extend(to);
        frame.extend(from);
        let (protocol, transport) = self.transport();
        let length = u16::try_from(transport.len()).unwrap_or_default();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend([0x08, 0x00]);
                let mut header = vec![0x45, 0];
                header.extend((20 + length).to_be_bytes());
                header.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
                header.extend(source.octets());
                header.extend(destination.octets());
                let sum = checksum(&header);
                header[10..12].copy_from_slice(&sum);
                frame.extend(header);
            }
            (source, destination) => {
                let wide = |address| match address {
                    IpAddr::V4(address) => address.to_ipv6_mapped(),
                    IpAddr::V6(address) => address,
                };
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend(length.to_be_bytes());
                frame.extend([protocol, 64]);
                frame.extend(wide(source).octets());
                frame.extend(wide(destination).octets());
            }
        }
        frame.extend(transport);
        frame
    }

    fn transport(&self) -> (u8, Vec<u8>) {
        const SYN: u8 = 2;
        const ACK: u8 = 16;
        /// An INIT chunk of 20 bytes, and a heartbeat's.
        const INIT: [u8; 4] = [1, 0, 0, 20];
        const HEARTBEAT: [u8; 4] = [4, 0, 0, 20];
        let ports = |port: u16| {
            let mut bytes = self.source_port.to_be_bytes().to_vec();
            bytes.extend(port.to_be_bytes());
            bytes
        };
        match self.transport {
            Transport::Tcp { port, is_within } => {
                let mut bytes = ports(port);
                bytes.extend([0, 0, 0, 1, 0, 0, 0, u8::from(is_within), 0x50]);
                bytes.push(if is_within { ACK } else { SYN });
                bytes.extend([0x20, 0, 0, 0, 0, 0]);
                (TCP, bytes)
            }
            Transport::Udp { port } => {
                let mut bytes = ports(port);
                bytes.extend([0, 12, 0, 0, 0, 0, 0, 0]);
                (UDP, bytes)
            }
            Transport::Sctp { port, is_within } => {
                let mut bytes = ports(port);
                bytes.extend([0, 0, 0, u8::from(is_within), 0, 0, 0, 0]);
                bytes.extend(if is_within { HEARTBEAT } else { INIT });
                bytes.extend([0; 16]);
                (SCTP, bytes)
            }
            Transport::Icmp(Echo::Request) => {
                let (protocol, kind) = match self.source {
                    IpAddr::V4(_) => (ICMP, 8),
                    IpAddr::V6(_) => (ICMPV6, 128),
                };
                let mut bytes = vec![kind, 0, 0, 0];
                bytes.extend(self.source_port.to_be_bytes());
                bytes.extend([0, 1]);
                (protocol, bytes)
            }
        }
    }
}

/// Of a header of IPv4 (RFC 1071).
fn checksum(header: &[u8]) -> [u8; 2] {
    let words = header.chunks_exact(2);
    let sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    (!u16::try_from(folded).unwrap_or_default()).to_be_bytes()
}
