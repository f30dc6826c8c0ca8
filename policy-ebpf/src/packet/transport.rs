//! Transport headers: TCP (RFC 9293), UDP (RFC 768), SCTP (RFC 9260), ICMP (RFC 792, RFC 4443).

use policy_common::FragmentPorts;

use super::{Bytes, IpPacket, icmp, protocol};

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

/// A transport header, as far as verdicts need it, in one word – bits 0: protocol, 8: may open a
/// flow, 9: only travels on one, 16: TCP flags, 24: bytes of the header, 32: source port, 48: destination port.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Segment(pub u64);

impl Segment {
    const OPENS: u64 = 1 << 8;
    const TRAVELS: u64 = 1 << 9;
    /// No segment: a word that no header gives. Not an `Option`, whose empty half the verifier may not
    /// see read.
    pub const NONE: Self = Self(u64::MAX);

    #[inline(always)]
    const fn new(protocol: u8, source: [u8; 2], destination: [u8; 2]) -> Self {
        Self(
            protocol as u64
                | (u16::from_ne_bytes(source) as u64) << 32
                | (u16::from_ne_bytes(destination) as u64) << 48,
        )
    }

    #[inline(always)]
    const fn with(self, opens: bool, tcp_flags: u8, header_len: u8) -> Self {
        let travels = if self.only_travels(opens, tcp_flags) {
            Self::TRAVELS
        } else {
            0
        };
        let opens = if opens { Self::OPENS } else { 0 };
        Self(self.0 | opens | travels | (tcp_flags as u64) << 16 | (header_len as u64) << 24)
    }

    #[inline(always)]
    const fn only_travels(self, opens: bool, tcp_flags: u8) -> bool {
        match self.kind() {
            Kind::Tcp => tcp_flags & (tcp::FIN | tcp::SYN | tcp::RST) == 0,
            Kind::Sctp => !opens,
            Kind::Icmp => self.is_tracked(),
            Kind::Udp | Kind::Other => true,
        }
    }

    /// A TCP segment: its ports, and the two bytes of its header that say how long it is and which
    /// flags are set. Nothing when the header would be too short.
    #[inline(always)]
    pub(super) const fn tcp([s0, s1, d0, d1]: [u8; 4], [words, flags]: [u8; 2]) -> Option<Self> {
        let header_len = (words >> 4) * 4;
        if header_len < 20 {
            return None;
        }
        let opens = flags & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) == tcp::SYN;
        Some(Self::new(protocol::TCP, [s0, s1], [d0, d1]).with(opens, flags, header_len))
    }

    /// A UDP datagram.
    #[inline(always)]
    pub(super) const fn udp([s0, s1, d0, d1]: [u8; 4]) -> Self {
        Self::new(protocol::UDP, [s0, s1], [d0, d1]).with(true, 0, 8)
    }

    /// A packet whose transport header nobody needs.
    #[inline(always)]
    pub const fn unread(protocol: u8) -> Self {
        Self(protocol as u64)
    }

    /// A later fragment, with what its first one said. It opens nothing that needs a flag.
    #[inline(always)]
    pub const fn of_later_fragment(ports: &FragmentPorts) -> Self {
        let opens = match kind_of(ports.protocol) {
            Kind::Tcp | Kind::Sctp => false,
            Kind::Icmp => icmp::is_echo_request(ports.protocol, ports.source_port[0]),
            Kind::Udp | Kind::Other => true,
        };
        Self::new(ports.protocol, ports.source_port, ports.destination_port).with(opens, 0, 0)
    }

    /// What a first fragment says, for the fragments behind it.
    #[inline(always)]
    pub const fn remembered(self, before: usize) -> FragmentPorts {
        FragmentPorts {
            source_port: self.source_port(),
            destination_port: self.destination_port(),
            header_len: before as u16 + self.header_len() as u16,
            protocol: self.protocol(),
            reserved: 0,
        }
    }

    /// IANA number of the protocol.
    #[inline(always)]
    pub const fn protocol(self) -> u8 {
        self.0 as u8
    }

    /// What the segment is to its flow.
    #[inline(always)]
    pub const fn kind(self) -> Kind {
        kind_of(self.protocol())
    }

    /// The packet may open a connection: SYN without ACK, SCTP INIT, an echo request; for other
    /// protocols every packet may.
    #[inline(always)]
    pub const fn opens(self) -> bool {
        self.0 & Self::OPENS != 0
    }

    /// The packet changes nothing about an established flow to which it belongs.
    #[inline(always)]
    pub const fn travels(self) -> bool {
        self.0 & Self::TRAVELS != 0
    }

    /// TCP flags; 0 for others.
    #[inline(always)]
    pub const fn tcp_flags(self) -> u8 {
        (self.0 >> 16) as u8
    }

    /// Bytes of the header.
    #[inline(always)]
    pub const fn header_len(self) -> usize {
        (self.0 >> 24 & 0xff) as usize
    }

    /// Network byte order; for ICMP type and code.
    #[inline(always)]
    pub const fn source_port(self) -> [u8; 2] {
        ((self.0 >> 32) as u16).to_ne_bytes()
    }

    /// Network byte order; for an ICMP echo its identifier.
    #[inline(always)]
    pub const fn destination_port(self) -> [u8; 2] {
        ((self.0 >> 48) as u16).to_ne_bytes()
    }

    /// ICMP type; 0 for others.
    #[inline(always)]
    pub const fn icmp_type(self) -> u8 {
        match self.kind() {
            Kind::Icmp => self.source_port()[0],
            _ => 0,
        }
    }

    /// Whether the protocol has ports.
    #[inline(always)]
    pub const fn has_ports(self) -> bool {
        matches!(self.kind(), Kind::Tcp | Kind::Udp | Kind::Sctp)
    }

    /// Source and destination port of the flow's key: an echo identifier is the port of the side
    /// that asks.
    #[inline(always)]
    pub const fn flow_ports(self) -> ([u8; 2], [u8; 2]) {
        match self.kind() {
            Kind::Icmp if icmp::is_echo_request(self.protocol(), self.source_port()[0]) => {
                (self.destination_port(), [0; 2])
            }
            Kind::Icmp => ([0; 2], self.destination_port()),
            _ => (self.source_port(), self.destination_port()),
        }
    }

    /// Whether the packet can belong to a flow: every ICMP message but an echo stands alone.
    #[inline(always)]
    pub const fn is_tracked(self) -> bool {
        !matches!(self.kind(), Kind::Icmp) || icmp::is_echo(self.protocol(), self.source_port()[0])
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

/// The transport header of a packet: [`Segment::NONE`] where it has none, or not all of it.
#[inline(always)]
pub fn of<B: Bytes + ?Sized, A>(frame: &B, packet: &IpPacket<A>) -> Segment {
    if packet.is_later_fragment() {
        return Segment::NONE;
    }
    parse(frame, packet).unwrap_or(Segment::NONE)
}

/// Reads the transport header of a whole packet or of a first fragment; nothing when it is not
/// there entirely.
#[inline(always)]
pub fn parse<B: Bytes + ?Sized, A>(frame: &B, packet: &IpPacket<A>) -> Option<Segment> {
    debug_assert!(!packet.is_later_fragment());
    let at = packet.transport();
    let number = packet.protocol();
    let segment = match kind_of(number) {
        Kind::Tcp => Segment::tcp(frame.bytes(at)?, frame.bytes(at + 12)?)?,
        Kind::Udp => Segment::udp(frame.bytes(at)?),
        Kind::Sctp => {
            let [s0, s1, d0, d1] = frame.bytes(at)?;
            let [chunk] = frame.bytes(at + 12)?;
            Segment::new(number, [s0, s1], [d0, d1]).with(chunk == SCTP_INIT, 0, 16)
        }
        Kind::Icmp => {
            let [kind, code, _, _, i0, i1] = frame.bytes(at)?;
            let id = if icmp::is_echo(number, kind) {
                [i0, i1]
            } else {
                [0; 2]
            };
            let opens = icmp::is_echo_request(number, kind);
            Segment::new(number, [kind, code], id).with(opens, 0, 8)
        }
        Kind::Other => Segment::unread(number).with(true, 0, 0),
    };
    let segment = Segment(frame.opaque(segment.0));
    (at + segment.header_len() <= packet.end()).then_some(segment)
}
