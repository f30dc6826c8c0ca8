//! The packets that are measured, and where in them a dealer writes.

use std::net::{IpAddr, SocketAddr};

use policy_common::Direction;

use policy_bpf::{Draw, Field};
use policy_harness::wire::{
    Ethernet, Tcp,
    transport::{flag, udp_packet},
};

/// Any two stations: the programs judge addresses of IP.
const STATIONS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
/// Of an Ethernet header.
const LINK: u16 = 14;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// As figures show it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }
}

/// Pod and peer of a connection, and which of them opened it does not matter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// The pod's side.
    pub(crate) pod: SocketAddr,
    /// The other side.
    pub(crate) peer: SocketAddr,
}

impl Ends {
    /// Source and destination of a packet in a direction.
    pub(crate) const fn of(self, direction: Direction) -> (SocketAddr, SocketAddr) {
        match direction {
            Direction::Ingress => (self.peer, self.pod),
            Direction::Egress => (self.pod, self.peer),
        }
    }
}

/// A frame around an IP packet.
pub(crate) fn frame(packet: &[u8]) -> Vec<u8> {
    Ethernet::new(STATIONS.0, STATIONS.1).ip(packet)
}

/// A TCP segment with these flags.
pub(crate) fn tcp(ends: Ends, direction: Direction, flags: u8) -> Vec<u8> {
    let (source, destination) = ends.of(direction);
    frame(&Tcp::new(flags).packet(source, destination))
}

/// The first segment of a connection.
pub(crate) fn syn(ends: Ends, direction: Direction) -> Vec<u8> {
    tcp(ends, direction, flag::SYN)
}

/// A segment in the middle of a connection.
pub(crate) fn ack(ends: Ends, direction: Direction) -> Vec<u8> {
    tcp(ends, direction, flag::ACK)
}

/// A datagram.
pub(crate) fn udp(ends: Ends, direction: Direction) -> Vec<u8> {
    let (source, destination) = ends.of(direction);
    frame(&udp_packet(source, destination, b"data"))
}

/// The peer's address in a packet: the last four bytes of it.
pub(crate) fn peer_address(first: IpAddr, direction: Direction, draw: Draw) -> Field {
    let (source, length, base) = match first {
        IpAddr::V4(address) => (12, 4, address.to_bits()),
        IpAddr::V6(address) => (8, 16, (address.to_bits() & u128::from(u32::MAX)) as u32),
    };
    let position = match direction {
        Direction::Ingress => 0,
        Direction::Egress => length,
    };
    Field {
        offset: LINK + source + position + length - 4,
        is_port: false,
        base,
        draw,
    }
}

/// The peer's port in a packet without options or extension headers.
pub(crate) fn peer_port(first: SocketAddr, direction: Direction, draw: Draw) -> Field {
    let header = if first.is_ipv4() { 20 } else { 40 };
    let position = match direction {
        Direction::Ingress => 0,
        Direction::Egress => 2,
    };
    Field {
        offset: LINK + header + position,
        is_port: true,
        base: first.port().into(),
        draw,
    }
}

/// The port of who opens a connection, in a packet without options or extension headers that
/// opens one.
pub(crate) fn client_port(ends: Ends, direction: Direction, draw: Draw) -> Field {
    let (client, _) = ends.of(direction);
    peer_port(client, Direction::Ingress, draw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_where_the_peer_stands_in_the_packet() {
        for (pod, peer) in [
            ("10.0.0.2:80", "10.1.2.3:40000"),
            ("[fd00::2]:80", "[fd00::a01:203]:40000"),
        ] {
            let ends = Ends {
                pod: pod.parse().unwrap(),
                peer: peer.parse().unwrap(),
            };
            for direction in [Direction::Ingress, Direction::Egress] {
                let frame = syn(ends, direction);
                let draw = Draw::Random(1);
                let address = peer_address(ends.peer.ip(), direction, draw);
                assert_eq!(frame[usize::from(address.offset)..][..4], [10, 1, 2, 3]);
                assert_eq!(address.base, 0x0a01_0203);
                let port = peer_port(ends.peer, direction, draw);
                assert_eq!(
                    frame[usize::from(port.offset)..][..2],
                    40_000u16.to_be_bytes()
                );
            }
        }
    }
}
