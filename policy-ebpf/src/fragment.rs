//! Fragments: the first one is judged like a whole packet and its ports are remembered; the others
//! follow it or are dropped. The payload of a later fragment is never read.

use policy_common::{Direction, Endpoint, FragmentKey, FragmentPorts, Reason};

use crate::{
    family::Family,
    lookup::World,
    packet::{Bytes, IpPacket, Segment, transport},
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
    if !packet.is_later_fragment() {
        return transport::parse(frame, packet).ok_or(if packet.is_first_fragment() {
            Reason::TinyFragment
        } else {
            Reason::Malformed
        });
    }
    let ports: FragmentPorts = bytemuck::cast(recall(world, endpoint, direction, packet));
    if ports.protocol == 0 {
        return Err(Reason::UnseenFragment);
    }
    if packet.fragment_offset() < ports.header_len {
        return Err(Reason::OverlappingFragment);
    }
    Ok(Segment::of_later_fragment(&ports))
}

/// What the first fragment said, as one word; protocol 0 if it was not seen or did not pass.
#[inline(never)]
fn recall<F: Family, W: World>(
    world: &W,
    endpoint: &Endpoint,
    direction: Direction,
    packet: &IpPacket<F>,
) -> u64 {
    let ports = world.fragment(&key(endpoint, direction, packet));
    bytemuck::cast(ports.unwrap_or_default())
}

/// Remembers the ports of a first fragment that passed.
#[inline(never)]
pub fn remember<F: Family, W: World>(
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
