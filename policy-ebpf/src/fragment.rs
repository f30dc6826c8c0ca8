//! Fragments: the first one is judged like a whole packet and its ports are remembered; the others
//! follow it or are dropped. The payload of a later fragment is never read.

use policy_common::{Direction, Endpoint, FragmentKey, Reason};

use crate::{
    family::Family,
    lookup::World,
    packet::{Bytes, Fragment, IpPacket, Segment, transport},
};

/// The transport header of a packet of an isolated endpoint: its own, or that of its first
/// fragment.
#[inline(always)]
pub fn segment<F: Family, W: World, B: Bytes + ?Sized>(
    world: &W,
    frame: &B,
    endpoint: &Endpoint,
    direction: Direction,
    packet: &IpPacket<F>,
) -> Result<Segment, Reason> {
    match packet.fragment {
        Fragment::Whole => transport::parse(frame, packet).ok_or(Reason::Malformed),
        Fragment::First(_) => transport::parse(frame, packet).ok_or(Reason::TinyFragment),
        Fragment::Later(id, offset) => {
            let key = key(endpoint, direction, packet, id);
            let ports = world.fragment(&key).ok_or(Reason::UnseenFragment)?;
            if offset < ports.header_len {
                return Err(Reason::OverlappingFragment);
            }
            Ok(Segment::of_later_fragment(&ports))
        }
    }
}

/// Remembers the ports of a first fragment that passed.
#[inline(always)]
pub fn remember<F: Family, W: World>(
    world: &W,
    endpoint: &Endpoint,
    direction: Direction,
    packet: &IpPacket<F>,
    segment: &Segment,
) {
    if let Fragment::First(id) = packet.fragment {
        let before = packet.transport - packet.fragmentable;
        world.remember_fragment(
            &key(endpoint, direction, packet, id),
            &segment.remembered(before),
        );
    }
}

#[inline(always)]
fn key<F: Family>(
    endpoint: &Endpoint,
    direction: Direction,
    packet: &IpPacket<F>,
    id: [u8; 4],
) -> FragmentKey {
    FragmentKey {
        endpoint: endpoint.id,
        protocol: if F::VERSION == 4 { packet.protocol } else { 0 },
        family: F::VERSION
            | match direction {
                Direction::Ingress => FragmentKey::TO_POD,
                Direction::Egress => 0,
            },
        id,
        source: packet.source.widened(),
        destination: packet.destination.widened(),
    }
}
