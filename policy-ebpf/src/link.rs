//! What keeps a link alive – neighbour discovery (RFC 4861), MLD (RFC 2710, RFC 3810), IGMP – and
//! is not policed beyond its sender. Narrow on purpose: the same message types can carry data.

use policy_common::{Endpoint, EndpointId};

use crate::{
    family::Family,
    lookup::Addresses,
    packet::{
        Bytes, IpPacket, Segment, Wire,
        icmp::{self, V6_NEIGHBOUR_ADVERTISEMENT, V6_NEIGHBOUR_SOLICITATION},
        protocol,
    },
};

/// What a packet is to its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkControl {
    /// Ordinary traffic.
    No,
    /// Keeps the link alive.
    Yes,
    /// Neighbour discovery in another's name.
    Forged,
}

/// Bytes of a solicitation or advertisement that carries its target and at most one link-layer
/// address: no room for anything else.
const NEIGHBOUR_MESSAGE: usize = 24;
const LINK_LAYER_OPTION: usize = 8;

/// Classifies a packet; `sender` is the endpoint that sent it, where its claims must be checked.
#[inline(always)]
pub fn classify<F: Wire, W: Addresses<F>, B: Bytes + ?Sized>(
    world: &W,
    frame: &B,
    packet: &IpPacket<F>,
    segment: Segment,
    sender: Option<&Endpoint>,
) -> LinkControl {
    if F::VERSION == 6 {
        return if segment.protocol() == protocol::ICMPV6 && packet.protocol() == protocol::ICMPV6 {
            message(world, frame, packet, segment, sender)
        } else {
            LinkControl::No
        };
    }
    if packet.protocol() == protocol::IGMP
        && packet.hop_limit() == 1
        && packet.destination.is_multicast()
    {
        LinkControl::Yes
    } else {
        LinkControl::No
    }
}

/// Classifies an ICMPv6 message.
#[inline(never)]
fn message<F: Wire, W: Addresses<F>, B: Bytes + ?Sized>(
    world: &W,
    frame: &B,
    packet: &IpPacket<F>,
    segment: Segment,
    sender: Option<&Endpoint>,
) -> LinkControl {
    let kind = segment.icmp_type();
    if icmp::is_listener_discovery(kind) {
        return if packet.hop_limit() == 1
            && packet.destination.is_multicast()
            && packet.destination.is_link_scope()
        {
            LinkControl::Yes
        } else {
            LinkControl::No
        };
    }
    // Every router lowers the hop limit: 255 proves a neighbour.
    if !icmp::is_neighbour_discovery(kind)
        || packet.hop_limit() != 255
        || packet.has_fragment_header()
    {
        return LinkControl::No;
    }
    let names_target = matches!(kind, V6_NEIGHBOUR_SOLICITATION | V6_NEIGHBOUR_ADVERTISEMENT);
    if !packet.destination.is_link_scope() && !is_bare(packet, segment) {
        return LinkControl::No;
    }
    match sender {
        Some(endpoint) if names_target => claims(world, frame, packet, kind, endpoint),
        _ => LinkControl::Yes,
    }
}

/// A solicitation or advertisement from a neighbour that carries nothing else.
#[inline(always)]
pub fn is_bare<F: Family>(packet: &IpPacket<F>, segment: Segment) -> bool {
    let length = packet.end() - packet.transport();
    packet.protocol() == protocol::ICMPV6
        && matches!(
            segment.icmp_type(),
            V6_NEIGHBOUR_SOLICITATION | V6_NEIGHBOUR_ADVERTISEMENT
        )
        && packet.hop_limit() == 255
        && !packet.has_fragment_header()
        && (length == NEIGHBOUR_MESSAGE || length == NEIGHBOUR_MESSAGE + LINK_LAYER_OPTION)
}

/// Whether a pod may send this solicitation or advertisement.
#[inline(always)]
fn claims<F: Wire, W: Addresses<F>, B: Bytes + ?Sized>(
    world: &W,
    frame: &B,
    packet: &IpPacket<F>,
    kind: u8,
    endpoint: &Endpoint,
) -> LinkControl {
    let Some(target) = F::address_at(frame, packet.transport() + 8) else {
        return LinkControl::Forged;
    };
    // Duplicate address detection asks without a source; every other question may be about anybody.
    let must_own = kind == V6_NEIGHBOUR_ADVERTISEMENT || packet.source.is_unspecified();
    if must_own && !endpoint.has(Endpoint::NO_SOURCE_CHECK) && !may_claim(world, endpoint, target) {
        return LinkControl::Forged;
    }
    LinkControl::Yes
}

/// The endpoint's own address, or a link-local one that is not this host's: nobody records those.
/// An endpoint that is not known yet may claim what neither this host nor another endpoint has.
#[inline(always)]
pub fn may_claim<F: Family, W: Addresses<F>>(world: &W, endpoint: &Endpoint, address: F) -> bool {
    if address == F::of(endpoint) && !address.is_unspecified() {
        return true;
    }
    let is_unknown = endpoint.has(Endpoint::UNKNOWN);
    match world.address(address) {
        Some(entry) if entry.is_host() => false,
        Some(entry) if entry.owner == EndpointId::NONE => is_unknown,
        Some(entry) => entry.owner == endpoint.id,
        None => is_unknown || address.is_link_local(),
    }
}
