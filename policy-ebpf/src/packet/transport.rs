//! Transport headers: TCP (RFC 9293), UDP (RFC 768), SCTP (RFC 9260), ICMP (RFC 792, RFC 4443).

use policy_common::FragmentPorts;

use super::{Bytes, Fragment, IpPacket, icmp, protocol};

/// TCP flags.
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Aborts a connection.
    pub const RST: u8 = 0x04;
    /// Acknowledges.
    pub const ACK: u8 = 0x10;
}

const SCTP_INIT: u8 = 1;

/// What a segment is to its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP.
    Tcp,
    /// SCTP.
    Sctp,
    /// UDP.
    Udp,
    /// ICMP or ICMPv6.
    Icmp,
    /// A protocol without ports.
    Other,
}

/// A transport header, as far as verdicts need it.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// The protocol.
    pub kind: Kind,
    /// IANA number.
    pub protocol: u8,
    /// Network byte order; for ICMP type and code.
    pub source_port: [u8; 2],
    /// Network byte order; for ICMP the identifier.
    pub destination_port: [u8; 2],
    /// TCP flags; 0 for others.
    pub tcp_flags: u8,
    /// The packet may open a connection: SYN without ACK, SCTP INIT, an echo request; for other
    /// protocols every packet may.
    pub opens: bool,
    /// Bytes of the header.
    pub header_len: usize,
}

impl Segment {
    /// ICMP type; 0 for others.
    #[inline(always)]
    pub const fn icmp_type(&self) -> u8 {
        match self.kind {
            Kind::Icmp => self.source_port[0],
            _ => 0,
        }
    }

    /// Whether the protocol has ports.
    #[inline(always)]
    pub const fn has_ports(&self) -> bool {
        matches!(self.kind, Kind::Tcp | Kind::Udp | Kind::Sctp)
    }

    /// Source and destination port of the flow's key: an echo identifier is the port of the side
    /// that asks.
    #[inline(always)]
    pub const fn flow_ports(&self) -> ([u8; 2], [u8; 2]) {
        match self.kind {
            Kind::Icmp if icmp::is_echo_request(self.protocol, self.source_port[0]) => {
                (self.destination_port, [0; 2])
            }
            Kind::Icmp => ([0; 2], self.destination_port),
            _ => (self.source_port, self.destination_port),
        }
    }

    /// Whether the packet can belong to a flow: every ICMP message but an echo stands alone.
    #[inline(always)]
    pub const fn is_tracked(&self) -> bool {
        !matches!(self.kind, Kind::Icmp) || icmp::is_echo(self.protocol, self.source_port[0])
    }

    /// A first fragment's ports, for the fragments behind it.
    #[inline(always)]
    pub const fn remembered(&self, before: usize) -> FragmentPorts {
        FragmentPorts {
            source_port: self.source_port,
            destination_port: self.destination_port,
            header_len: (before + self.header_len) as u16,
            protocol: self.protocol,
            reserved: 0,
        }
    }

    /// A packet whose transport header nobody needs.
    #[inline(always)]
    pub const fn unread(protocol: u8) -> Self {
        Self {
            kind: Kind::Other,
            protocol,
            source_port: [0; 2],
            destination_port: [0; 2],
            tcp_flags: 0,
            opens: false,
            header_len: 0,
        }
    }

    /// A later fragment, with the ports of its first one. It opens nothing that needs a flag.
    #[inline(always)]
    pub const fn of_later_fragment(ports: &FragmentPorts) -> Self {
        let kind = kind_of(ports.protocol);
        Self {
            kind,
            opens: match kind {
                Kind::Tcp | Kind::Sctp => false,
                Kind::Icmp => icmp::is_echo_request(ports.protocol, ports.source_port[0]),
                Kind::Udp | Kind::Other => true,
            },
            protocol: ports.protocol,
            source_port: ports.source_port,
            destination_port: ports.destination_port,
            tcp_flags: 0,
            header_len: 0,
        }
    }
}

/// What a protocol's segments are to their flows.
#[inline(always)]
pub const fn kind_of(number: u8) -> Kind {
    match number {
        protocol::TCP => Kind::Tcp,
        protocol::UDP => Kind::Udp,
        protocol::SCTP => Kind::Sctp,
        protocol::ICMP | protocol::ICMPV6 => Kind::Icmp,
        _ => Kind::Other,
    }
}

/// Reads the transport header of a whole packet or of a first fragment; nothing when it is not
/// there entirely.
#[inline(always)]
pub fn parse<B: Bytes + ?Sized, A>(frame: &B, packet: &IpPacket<A>) -> Option<Segment> {
    debug_assert!(!matches!(packet.fragment, Fragment::Later(..)));
    let at = packet.transport;
    let mut segment = Segment {
        kind: kind_of(packet.protocol),
        protocol: packet.protocol,
        source_port: [0; 2],
        destination_port: [0; 2],
        tcp_flags: 0,
        opens: true,
        header_len: 0,
    };
    match segment.kind {
        Kind::Tcp => {
            let [s0, s1, d0, d1] = frame.bytes(at)?;
            let [words, flags] = frame.bytes(at + 12)?;
            segment.source_port = [s0, s1];
            segment.destination_port = [d0, d1];
            segment.tcp_flags = flags;
            segment.opens = flags & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) == tcp::SYN;
            segment.header_len = usize::from(words >> 4) * 4;
            if segment.header_len < 20 {
                return None;
            }
        }
        Kind::Udp => {
            let [s0, s1, d0, d1] = frame.bytes(at)?;
            segment.source_port = [s0, s1];
            segment.destination_port = [d0, d1];
            segment.header_len = 8;
        }
        Kind::Sctp => {
            let [s0, s1, d0, d1] = frame.bytes(at)?;
            let [chunk] = frame.bytes(at + 12)?;
            segment.source_port = [s0, s1];
            segment.destination_port = [d0, d1];
            segment.opens = chunk == SCTP_INIT;
            segment.header_len = 16;
        }
        Kind::Icmp => {
            let [kind, code, _, _, i0, i1] = frame.bytes(at)?;
            segment.source_port = [kind, code];
            segment.header_len = 8;
            segment.opens = icmp::is_echo_request(packet.protocol, kind);
            if icmp::is_echo(packet.protocol, kind) {
                segment.destination_port = [i0, i1];
            }
        }
        Kind::Other => {}
    }
    (at + segment.header_len <= packet.end).then_some(segment)
}
