//! The first packets of a connection: what a client sends, and what a server answers.

use std::net::SocketAddr;

use super::case::Protocol;
use policy_harness::wire::{
    Ethernet, Tcp, ip, sctp,
    transport::{flag, udp_packet},
};

/// Any two stations: the programs judge addresses of IP.
const STATIONS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
const DATA: &[u8] = b"probe";

/// Both ends of a connection, as one of its packets has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// Who sends.
    pub(crate) source: SocketAddr,
    /// To whom; of the same family.
    pub(crate) destination: SocketAddr,
}

impl Ends {
    /// Those of a packet the other way.
    pub(crate) const fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
        }
    }
}

/// A frame that opens a connection: SYN, datagram, or INIT.
pub(crate) fn opening(protocol: Protocol, ends: Ends) -> Vec<u8> {
    let Ends {
        source,
        destination,
    } = ends;
    let packet = match protocol {
        Protocol::Tcp => Tcp::new(flag::SYN).packet(source, destination),
        Protocol::Udp => udp_packet(source, destination, DATA),
        Protocol::Sctp => sctp_packet(ends, &sctp::init(source.port(), destination.port())),
    };
    Ethernet::new(STATIONS.0, STATIONS.1).ip(&packet)
}

/// A frame that answers the opening whose ends are these reversed: SYN-ACK, datagram, or INIT ACK.
pub(crate) fn answer(protocol: Protocol, ends: Ends) -> Vec<u8> {
    let Ends {
        source,
        destination,
    } = ends;
    let packet = match protocol {
        Protocol::Tcp => {
            let mut segment = Tcp::new(flag::SYN | flag::ACK);
            segment.acknowledgement = 1001;
            segment.packet(source, destination)
        }
        Protocol::Udp => udp_packet(source, destination, DATA),
        Protocol::Sctp => {
            let init = sctp::init(destination.port(), source.port());
            sctp_packet(
                ends,
                &sctp::answer(&init, source.port()).unwrap_or_default(),
            )
        }
    };
    Ethernet::new(STATIONS.0, STATIONS.1).ip(&packet)
}

fn sctp_packet(ends: Ends, payload: &[u8]) -> Vec<u8> {
    ip::packet(
        ends.source.ip(),
        ends.destination.ip(),
        sctp::PROTOCOL,
        payload,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: Ends = Ends {
        source: SocketAddr::new(
            std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 1, 5)),
            40_000,
        ),
        destination: SocketAddr::new(
            std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 2, 5)),
            80,
        ),
    };

    #[test]
    fn an_sctp_answer_is_the_one_that_the_client_waits_for() {
        let frame = answer(Protocol::Sctp, ENDS.reversed());
        assert!(sctp::is_answer(&frame[34..], 80, 40_000));
    }

    #[test]
    fn an_opening_goes_to_the_port_of_the_probe() {
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            let frame = opening(protocol, ENDS);
            assert_eq!(frame[23], protocol.number());
            assert_eq!(frame[36..38], 80u16.to_be_bytes());
        }
    }
}
