//! How the packets of an address family are read: the same three ways for both.

use policy_common::{V4, V6};

use super::{Bytes, IpPacket, ParseError, Segment, ipv4, ipv6, plain, quote};
use crate::family::Family;

/// An address family whose packets can be read.
pub trait Wire: Family {
    /// Reads the headers of an ordinary packet in the shortest way.
    fn plain<B: Bytes + ?Sized>(frame: &B) -> Option<(IpPacket<Self>, Segment)>;
    /// Source and destination of what [`Wire::plain`] reads as a TCP segment.
    fn plain_tcp<B: Bytes + ?Sized>(frame: &B) -> Option<[Self; 2]>;
    /// Reads the headers of any packet.
    ///
    /// # Errors
    /// The headers cannot be followed.
    fn parse<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Result<IpPacket<Self>, ParseError>;
    /// Reads the packet that an ICMP error quotes at `offset`, not beyond `end`.
    fn quote<B: Bytes + ?Sized>(frame: &B, offset: usize, end: usize)
    -> Option<quote::Quote<Self>>;
    /// An address in a frame.
    fn address_at<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Option<Self>;
}

macro_rules! wire {
    ($family:ident, $plain:path, $plain_tcp:path, $parse:path, $quote:path) => {
        impl Wire for $family {
            #[inline(always)]
            fn plain<B: Bytes + ?Sized>(frame: &B) -> Option<(IpPacket<Self>, Segment)> {
                $plain(frame)
            }

            #[inline(always)]
            fn plain_tcp<B: Bytes + ?Sized>(frame: &B) -> Option<[Self; 2]> {
                $plain_tcp(frame)
            }

            #[inline(always)]
            fn parse<B: Bytes + ?Sized>(
                frame: &B,
                offset: usize,
            ) -> Result<IpPacket<Self>, ParseError> {
                $parse(frame, offset)
            }

            #[inline(always)]
            fn quote<B: Bytes + ?Sized>(
                frame: &B,
                offset: usize,
                end: usize,
            ) -> Option<quote::Quote<Self>> {
                $quote(frame, offset, end)
            }

            #[inline(always)]
            fn address_at<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Option<Self> {
                frame.bytes(offset).map($family)
            }
        }
    };
}

wire!(V4, plain::v4, plain::tcp_v4, ipv4::parse, quote::parse_v4);
wire!(V6, plain::v6, plain::tcp_v6, ipv6::parse, quote::parse_v6);
