//! Reading headers, from any source of bytes: the kernel's packet, or a slice on the host.
//!
//! Owns the layout of headers and nothing else: no addresses are judged here. Invariant: offsets
//! count from the start of the frame, and nothing beyond the length that the IP header gives is
//! ever read as a header.

pub mod arp;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod listener;
pub mod neighbour;
pub mod numbers;
mod options;
pub mod padding;
pub mod plain;
pub mod quote;
pub mod transport;
mod wire;

pub use numbers::Numbers;
pub use transport::Segment;
pub use wire::Wire;

/// Where the last read may begin: headers that go on beyond are malformed. The verifier wants a
/// bound.
pub const MAX_OFFSET: usize = 0x7ff;

/// A frame. Reads may be slow beyond its linear part, but never wrong.
pub trait Bytes {
    /// Bytes of the link header before the network header: [`ethernet::HEADER_LEN`], or 0 on
    /// interfaces without one. A constant of the type, so that offsets stay constants.
    const LINK_HEADER: usize = ethernet::HEADER_LEN;

    /// No byte.
    const NO_BYTE: u64 = 0x100;

    /// What stands behind the link header where none says it: an EtherType, host byte order.
    #[inline(always)]
    fn network_protocol(&self) -> Option<u16> {
        None
    }

    /// `N` bytes from `offset`, or nothing when the frame ends before or the offset is beyond
    /// [`MAX_OFFSET`].
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// The byte at an offset, for walks from one to the next: [`Self::NO_BYTE`] where there is none. One word
    /// from every way of reading, so that the verifier follows a walk's next step once.
    #[inline(always)]
    fn byte(&self, offset: usize) -> u64 {
        self.bytes(offset)
            .map_or(Self::NO_BYTE, |[byte]| byte.into())
    }

    /// As [`Bytes::bytes`], for a constant offset, and nothing also where reading would be slow.
    #[inline(always)]
    fn linear<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes(offset)
    }

    /// Bytes of the frame.
    fn length(&self) -> usize;

    /// The same value, about which the kernel's verifier knows nothing any more. What a parser found
    /// is passed through this, so that the verifier follows the rest of the program once and not
    /// once for each shape of packet.
    #[inline(always)]
    fn opaque(&self, value: u64) -> u64 {
        value
    }

    /// The frame is a super-packet that will be segmented later: its IP length may be 0.
    fn is_segmented(&self) -> bool {
        false
    }
}

impl Bytes for [u8] {
    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset > MAX_OFFSET {
            return None;
        }
        self.get(offset..)?.first_chunk().copied()
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.len()
    }
}

/// A packet on an interface without link header.
#[derive(Clone, Copy, Debug)]
pub struct Bare<'a> {
    /// The bytes from the network header on.
    pub bytes: &'a [u8],
    /// The EtherType that the interface gives it, host byte order.
    pub protocol: u16,
}

impl Bytes for Bare<'_> {
    const LINK_HEADER: usize = 0;

    #[inline(always)]
    fn network_protocol(&self) -> Option<u16> {
        Some(self.protocol)
    }

    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes.bytes(offset)
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.bytes.len()
    }
}

/// Why a packet's headers cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// They contradict themselves or end too early.
    Malformed,
    /// More extension headers than are walked.
    ExtensionHeaders,
    /// A routing header with segments left, or an IPv4 source route with addresses left.
    RoutingHeader,
}

/// How much of a datagram the packet is, in one word as an [`IpPacket`] has it: old verifiers let nobody read
/// the fields that one half of an `enum` has from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fragment(u64);

impl Fragment {
    /// All of it.
    pub(crate) const WHOLE: Self = Self(0);
    const IS_FIRST: u64 = 1 << 48;
    const IS_LATER: u64 = 1 << 49;

    /// The first part; identification in network byte order.
    #[inline(always)]
    pub(crate) const fn first(id: [u8; 4]) -> Self {
        Self(Self::IS_FIRST | u32::from_ne_bytes(id) as u64)
    }

    /// A later part, and its offset in bytes.
    #[inline(always)]
    pub(crate) const fn later(id: [u8; 4], offset: u16) -> Self {
        Self(Self::IS_LATER | u32::from_ne_bytes(id) as u64 | (offset as u64) << 32)
    }

    /// Whether it is a later part.
    #[inline(always)]
    pub(crate) const fn is_later(self) -> bool {
        self.0 & Self::IS_LATER != 0
    }
}

/// What an IP header and the headers behind it say.
#[derive(Clone, Copy, Debug, Default)]
pub struct IpPacket<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Bits 0: transport, 16: fragmentable, 32: end, 56: hop limit.
    layout: u64,
    /// Bits 0: identification, 32: fragment offset, 48: flags, 56: protocol.
    datagram: u64,
}

/// The parts of an [`IpPacket`] but for its addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Headers {
    pub(crate) fragmentable: usize,
    pub(crate) transport: usize,
    pub(crate) end: usize,
    pub(crate) fragment: Fragment,
    pub(crate) has_fragment_header: bool,
    pub(crate) hop_limit: u8,
    pub(crate) protocol: u8,
}

impl<A> IpPacket<A> {
    const HAS_FRAGMENT_HEADER: u64 = 1 << 50;

    #[inline(always)]
    fn new(source: A, destination: A, headers: &Headers) -> Self {
        let layout = headers.transport as u64
            | (headers.fragmentable as u64) << 16
            | (headers.end as u64) << 32
            | u64::from(headers.hop_limit) << 56;
        let header = if headers.has_fragment_header {
            Self::HAS_FRAGMENT_HEADER
        } else {
            0
        };
        Self {
            source,
            destination,
            layout,
            datagram: headers.fragment.0 | header | u64::from(headers.protocol) << 56,
        }
    }

    /// The same, as [`Bytes::opaque`] says.
    #[inline(always)]
    #[must_use]
    pub fn opaque<B: Bytes + ?Sized>(self, frame: &B) -> Self {
        Self {
            layout: frame.opaque(self.layout),
            datagram: frame.opaque(self.datagram),
            ..self
        }
    }

    /// All but the addresses.
    #[inline(always)]
    pub const fn words(&self) -> [u64; 2] {
        [self.layout, self.datagram]
    }

    /// Where the transport header begins.
    #[inline(always)]
    pub const fn transport(&self) -> usize {
        (self.layout & 0xffff) as usize
    }

    /// Where the part of the packet begins that fragmentation divides.
    #[inline(always)]
    pub const fn fragmentable(&self) -> usize {
        (self.layout >> 16 & 0xffff) as usize
    }

    /// Where the packet ends; link-layer padding lies behind.
    #[inline(always)]
    pub const fn end(&self) -> usize {
        (self.layout >> 32 & 0xff_ffff) as usize
    }

    /// TTL or hop limit.
    #[inline(always)]
    pub const fn hop_limit(&self) -> u8 {
        (self.layout >> 56) as u8
    }

    /// Protocol of the transport header.
    #[inline(always)]
    pub const fn protocol(&self) -> u8 {
        (self.datagram >> 56) as u8
    }

    /// The first part of a divided datagram.
    #[inline(always)]
    pub const fn is_first_fragment(&self) -> bool {
        self.datagram & Fragment::IS_FIRST != 0
    }

    /// A later part of a divided datagram: it has no transport header.
    #[inline(always)]
    pub const fn is_later_fragment(&self) -> bool {
        self.datagram & Fragment::IS_LATER != 0
    }

    /// A fragment header is there, also on a datagram that was not divided.
    #[inline(always)]
    pub const fn has_fragment_header(&self) -> bool {
        self.datagram & Self::HAS_FRAGMENT_HEADER != 0
    }

    /// Identification of the divided datagram, network byte order.
    #[inline(always)]
    pub const fn fragment_id(&self) -> [u8; 4] {
        (self.datagram as u32).to_ne_bytes()
    }

    /// Offset of a later part in bytes.
    #[inline(always)]
    pub const fn fragment_offset(&self) -> u16 {
        (self.datagram >> 32) as u16
    }
}

impl IpPacket<()> {
    /// The packet of which these are the words: its addresses are not known.
    #[inline(always)]
    pub const fn of_words([layout, datagram]: [u64; 2]) -> Self {
        Self {
            source: (),
            destination: (),
            layout,
            datagram,
        }
    }
}

/// IANA protocol numbers.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IGMP.
    pub const IGMP: u8 = 2;
    /// IPv4 in IP.
    pub const IPIP: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in IP.
    pub const IPV6: u8 = 41;
    /// Generic routing encapsulation.
    pub const GRE: u8 = 47;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;

    const L2TP: u8 = 115;
    const MPLS: u8 = 137;

    /// Protocols that carry packets, which the kernel's own tunnels unpack without a secret.
    #[inline(always)]
    pub const fn is_tunnel(number: u8) -> bool {
        matches!(number, IPIP | IPV6 | GRE | L2TP | MPLS)
    }
}
