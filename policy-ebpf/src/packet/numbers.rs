//! The sequence numbers of a segment: what it announces, and what it acknowledges.
//!
//! Read only where the entry of a flow may change: most packets never ask. Invariant: a packet that
//! does not carry the numbers announces nothing and acknowledges nothing.

use super::{
    Bytes, IpPacket, Segment,
    transport::{Kind, tcp},
};

const SCTP_INIT: u8 = 1;
const SCTP_INIT_ACK: u8 = 2;

/// What a segment says about sequence numbers, host byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// [`Self::ANNOUNCES`], [`Self::ACKNOWLEDGES`].
    pub status: u32,
    /// TCP: the number of its first byte, behind a SYN. SCTP: the initiate tag of an INIT or INIT ACK.
    pub first: u32,
    /// TCP: the number behind its last byte, or behind its FIN. SCTP: as `first`.
    pub end: u32,
    /// TCP: the number that its sender expects next. SCTP: the verification tag.
    pub acknowledged: u32,
}

impl Numbers {
    /// `first` and `end` mean something.
    pub const ANNOUNCES: u32 = 1;
    /// `acknowledged` means something.
    pub const ACKNOWLEDGES: u32 = 2;

    /// Of a TCP segment.
    #[inline(always)]
    pub const fn tcp(sequence: u32, acknowledged: u32, payload: u32, flags: u8) -> Self {
        let first = sequence.wrapping_add((flags & tcp::SYN != 0) as u32);
        Self {
            status: Self::ANNOUNCES
                | if flags & tcp::ACK != 0 {
                    Self::ACKNOWLEDGES
                } else {
                    0
                },
            first,
            end: first
                .wrapping_add(payload)
                .wrapping_add((flags & tcp::FIN != 0) as u32),
            acknowledged,
        }
    }

    /// Whether `first` and `end` mean something.
    #[inline(always)]
    pub const fn announces(&self) -> bool {
        self.status & Self::ANNOUNCES != 0
    }

    /// Whether the segment acknowledges this number.
    #[inline(always)]
    pub const fn acknowledges(&self, number: u32) -> bool {
        self.status & Self::ACKNOWLEDGES != 0 && self.acknowledged == number
    }
}

/// Reads the numbers of a packet of a connection-oriented protocol; none where it carries none.
#[inline(always)]
pub fn numbers<B: Bytes + ?Sized, A>(frame: &B, packet: &IpPacket<A>, segment: Segment) -> Numbers {
    read(frame, packet, segment).unwrap_or_default()
}

#[inline(always)]
fn read<B: Bytes + ?Sized, A>(
    frame: &B,
    packet: &IpPacket<A>,
    segment: Segment,
) -> Option<Numbers> {
    if packet.is_later_fragment() {
        return None;
    }
    let at = packet.transport();
    match segment.kind() {
        Kind::Tcp => {
            let [s0, s1, s2, s3, a0, a1, a2, a3] = frame.bytes(at + 4)?;
            let payload = packet.end().wrapping_sub(at + segment.header_len()) as u32;
            Some(Numbers::tcp(
                u32::from_be_bytes([s0, s1, s2, s3]),
                u32::from_be_bytes([a0, a1, a2, a3]),
                payload,
                segment.tcp_flags(),
            ))
        }
        Kind::Sctp => {
            let [v0, v1, v2, v3] = frame.bytes(at + 4)?;
            let acknowledged = u32::from_be_bytes([v0, v1, v2, v3]);
            let [chunk] = frame.bytes(at + 12)?;
            let announces = chunk == SCTP_INIT || chunk == SCTP_INIT_ACK;
            let tag = if announces && at + 20 <= packet.end() {
                u32::from_be_bytes(frame.bytes(at + 16)?)
            } else {
                0
            };
            // A tag is never zero; an INIT's verification tag is.
            Some(Numbers {
                status: u32::from(tag != 0) | u32::from(acknowledged != 0) << 1,
                first: tag,
                end: tag,
                acknowledged,
            })
        }
        Kind::Udp | Kind::Icmp | Kind::Other => None,
    }
}
