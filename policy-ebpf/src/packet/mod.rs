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
pub mod quote;
pub mod transport;

pub use transport::Segment;

/// A frame. Reads may be slow beyond its linear part, but never wrong.
pub trait Bytes {
    /// `N` bytes from `offset`, or nothing when the frame ends before.
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Bytes of the frame.
    fn length(&self) -> usize;

    /// The frame is a super-packet that will be segmented later: its IP length may be 0.
    fn is_segmented(&self) -> bool {
        false
    }
}

impl Bytes for [u8] {
    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.len()
    }
}

/// Why a packet's headers cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// They contradict themselves or end too early.
    Malformed,
    /// More extension headers than are walked.
    ExtensionHeaders,
    /// A routing header with segments left.
    RoutingHeader,
}

/// How much of a datagram the packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// All of it.
    Whole,
    /// The first part; identification in network byte order.
    First([u8; 4]),
    /// A later part, and its offset in bytes.
    Later([u8; 4], u16),
}

/// What an IP header and the headers behind it say.
#[derive(Clone, Copy, Debug)]
pub struct IpPacket<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Where the part of the packet begins that fragmentation divides.
    pub fragmentable: usize,
    /// Where the transport header begins.
    pub transport: usize,
    /// Where the packet ends; link-layer padding lies behind.
    pub end: usize,
    /// Fragmentation.
    pub fragment: Fragment,
    /// A fragment header is there, also on a datagram that was not divided.
    pub has_fragment_header: bool,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Protocol of the transport header.
    pub protocol: u8,
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
}
