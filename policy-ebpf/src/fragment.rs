//! Fragments: the first one is judged like a whole packet and its ports are remembered; the others
//! follow it or are dropped. The payload of a later fragment is never read.

use policy_common::{Direction, Endpoint, FragmentKey, Reason};

use crate::{
    decision::Decision,
    family::Family,
    lookup::Fragments,
    packet::{IpPacket, Segment},
};

/// A transport header or a reason to drop, in one word as [`crate::Decision`].
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Read(u64);

impl Read {
    /// Bits that no [`Segment`] has set.
    const FAILED: u64 = 0xfc00;

    #[inline(always)]
    pub(crate) const fn of(segment: Segment) -> Self {
        Self(segment.0)
    }

    #[inline(always)]
    pub(crate) const fn failed(reason: Reason) -> Self {
        Self(Self::FAILED | reason as u64)
    }

    /// The header.
    ///
    /// # Errors
    /// The packet must be dropped.
    #[inline(always)]
    pub const fn segment(self) -> Result<Segment, Decision> {
        if self.0 & Self::FAILED == 0 {
            Ok(Segment(self.0))
        } else {
            Err(Decision(self.0 & 0xff))
        }
    }
}

/// The transport header of a packet of an isolated endpoint: its own, which is `own`, or that of its first
/// fragment; else a reason to drop the packet.
#[inline(always)]
pub fn segment<F: Family, W: Fragments>(
    world: &W,
    endpoint: &Endpoint,
    direction: Direction,
    packet: &IpPacket<F>,
    own: Segment,
) -> Read {
    if own != Segment::NONE {
        return Read::of(own);
    }
    if packet.is_later_fragment() {
        return find(world, endpoint, direction, packet);
    }
    Read::failed(if packet.is_first_fragment() {
        Reason::TinyFragment
    } else {
        Reason::Malformed
    })
}

#[inline(always)]
fn find<F: Family, W: Fragments>(
    world: &W,
    endpoint: &Endpoint,
    direction: Direction,
    packet: &IpPacket<F>,
) -> Read {
    let ports = world
        .fragment(&key(endpoint, direction, packet))
        .unwrap_or_default();
    if ports.protocol == 0 {
        return Read::failed(Reason::UnseenFragment);
    }
    if packet.fragment_offset() < ports.header_len {
        return Read::failed(Reason::OverlappingFragment);
    }
    Read::of(Segment::of_later_fragment(&ports))
}

/// Remembers the ports of a first fragment that passed.
#[inline(always)]
pub fn remember<F: Family, W: Fragments>(
    world: &W,
    endpoint: &Endpoint,
    direction: Direction,
    packet: &IpPacket<F>,
    segment: Segment,
) -> bool {
    let before = packet.transport() - packet.fragmentable();
    world.remember_fragment(
        &key(endpoint, direction, packet),
        &segment.remembered(before),
    )
}

#[inline(always)]
fn key<F: Family>(endpoint: &Endpoint, direction: Direction, packet: &IpPacket<F>) -> FragmentKey {
    FragmentKey {
        endpoint: endpoint.id,
        protocol: if F::VERSION == 4 {
            packet.protocol()
        } else {
            0
        },
        family: F::VERSION
            | match direction {
                Direction::Ingress => FragmentKey::TO_POD,
                Direction::Egress => 0,
            },
        id: packet.fragment_id(),
        source: packet.source.widened(),
        destination: packet.destination.widened(),
    }
}
