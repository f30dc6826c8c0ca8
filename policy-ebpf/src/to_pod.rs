//! TC egress of the pod's host-side interface: what reaches the pod.

use policy_common::{Direction, Endpoint, Reason, V4, V6};

use crate::{
    case::Case,
    decision::Decision,
    family::Family,
    fragment,
    judge::related_or,
    link::{self, LinkControl},
    lookup::{Addresses, Tables, World},
    neighbour::Neighbour,
    origin::{Origin, Whence},
    packet::{
        Bytes, IpPacket, Segment, Wire, arp,
        ethernet::{self, ethertype},
    },
    read::read_known,
    steps::Steps,
};

/// Decides about a frame on its way to the pod.
#[inline(always)]
pub fn decide<W, B>(world: &W, frame: &B, origin: &Origin, endpoint: &Endpoint) -> Decision
where
    W: World,
    B: Steps + ?Sized,
{
    let link = world.link(origin.ingress_ifindex);
    decide_told(world, frame, Whence::of(origin, link), endpoint)
}

/// The same, where it was found out before what the origin says.
#[inline(always)]
pub fn decide_told<W, B>(world: &W, frame: &B, whence: Whence, endpoint: &Endpoint) -> Decision
where
    W: World,
    B: Steps + ?Sized,
{
    let closed = endpoint.has(Endpoint::INGRESS_ISOLATED) || endpoint.has(Endpoint::UNKNOWN);
    let Some(ethertype) = ethernet::ethertype(frame) else {
        return Decision::of(Reason::Malformed);
    };
    if closed && whence.has_vlan_tag() {
        return Decision::of(Reason::VlanTag);
    }
    if !closed && !endpoint.is_isolated() && !whence.is_host() && is_for(frame, ethertype, endpoint)
    {
        return Decision::of(Reason::NotIsolated);
    }
    match ethertype {
        ethertype::IPV4 => ip::<V4, W, B>(world, frame, whence, endpoint),
        ethertype::IPV6 => ip::<V6, W, B>(world, frame, whence, endpoint),
        ethertype::ARP if closed && !arp::is_alone(frame, B::LINK_HEADER) => {
            Decision::of(Reason::LinkData)
        }
        ethertype::ARP => Decision::of(Reason::LinkControl),
        ethertype::VLAN | ethertype::SERVICE_VLAN if closed => Decision::of(Reason::VlanTag),
        _ if closed => Decision::of(Reason::Ethertype),
        _ => Decision::of(Reason::NotIsolated),
    }
}

#[inline(always)]
fn ip<F, W, B>(world: &W, frame: &B, whence: Whence, endpoint: &Endpoint) -> Decision
where
    F: Wire,
    W: Tables<F> + World,
    B: Steps + ?Sized,
{
    let (packet, own) = match read_known::<F, B>(frame) {
        Ok(read) => read,
        Err(error) if endpoint.is_isolated() || endpoint.has(Endpoint::UNKNOWN) => {
            return error.into();
        }
        Err(_) => return Decision::of(Reason::NotIsolated),
    };
    if !may_receive(world, frame, endpoint, &packet) {
        return Decision::of(Reason::DestinationAddress);
    }
    // A fragment of IPv6 is never this host's: one that it made of another's packet looks the same.
    if whence.is_host() && !(F::VERSION == 6 && packet.has_fragment_header()) {
        return Decision::of(Reason::Host);
    }
    addressed::<F, W, B>(world, frame, whence, endpoint, &packet, own)
}

/// Whether a packet is for the endpoint's first address. Whatever else is in it, an endpoint without policy
/// receives it.
#[inline(always)]
fn is_for<B: Bytes + ?Sized>(frame: &B, ethertype: u16, endpoint: &Endpoint) -> bool {
    match ethertype {
        ethertype::IPV4 => frame.linear(B::LINK_HEADER + 16).map(V4) == Some(endpoint.v4),
        ethertype::IPV6 => frame.linear(B::LINK_HEADER + 24).map(V6) == Some(endpoint.v6),
        _ => false,
    }
}

/// A packet that may be for the pod.
#[inline(always)]
fn addressed<F, W, B>(
    world: &W,
    frame: &B,
    whence: Whence,
    endpoint: &Endpoint,
    packet: &IpPacket<F>,
    own: Segment,
) -> Decision
where
    F: Wire,
    W: Tables<F> + World,
    B: Steps + ?Sized,
{
    if endpoint.has(Endpoint::UNKNOWN) {
        return unknown::<F, W, B>(world, frame, packet, own);
    }
    if !endpoint.is_isolated() {
        return Decision::of(Reason::NotIsolated);
    }
    let direction = Direction::Ingress;
    let segment = match fragment::segment(world, endpoint, direction, packet, own).segment() {
        Ok(segment) => segment,
        Err(decision) => return decision,
    };
    if link::classify(world, frame, packet, segment, None) == LinkControl::Yes {
        return Decision::of(Reason::LinkControl);
    }
    let neighbour = if packet.source.is_link_local() {
        Neighbour::sender(world, whence)
    } else {
        Neighbour::ELSEWHERE
    };
    let case = Case {
        frame,
        endpoint,
        direction,
        ingress_ifindex: whence.ingress_ifindex(),
        neighbour,
        packet,
        segment,
    };
    let decision = related_or(world, &case);
    if packet.is_first_fragment() && !decision.drops() {
        fragment::remember(world, endpoint, direction, packet, segment);
    }
    decision
}

/// Until the pod is known only what keeps the link alive reaches it, and this host.
#[inline(always)]
fn unknown<F, W, B>(world: &W, frame: &B, packet: &IpPacket<F>, own: Segment) -> Decision
where
    F: Wire,
    W: Tables<F>,
    B: Steps + ?Sized,
{
    let keeps_link =
        own != Segment::NONE && link::classify(world, frame, packet, own, None) == LinkControl::Yes;
    Decision::of(if keeps_link {
        Reason::LinkControl
    } else {
        Reason::UnknownEndpoint
    })
}

/// The destination check, the mirror of the source check.
#[inline(always)]
fn may_receive<F, W, B>(world: &W, frame: &B, endpoint: &Endpoint, packet: &IpPacket<F>) -> bool
where
    F: Wire,
    W: Tables<F>,
    B: Steps + ?Sized,
{
    let destination = packet.destination;
    destination == F::of(endpoint)
        || endpoint.has(Endpoint::NO_SOURCE_CHECK)
        || endpoint.has(Endpoint::UNKNOWN)
        || destination.is_multicast()
        || destination.is_broadcast()
        || destination.is_link_local()
        // A subnet's broadcast address: the frame says so, the address cannot.
        || (F::VERSION == 4 && ethernet::is_to_group(frame))
        || frame
            .lend(packet, |packet| owns(world, endpoint, packet))
            .unwrap_or(false)
}

/// Whether the destination is one of the endpoint's further addresses.
#[inline(never)]
fn owns<F: Family, W: Addresses<F>>(world: &W, endpoint: &Endpoint, packet: &IpPacket<F>) -> bool {
    world
        .address(packet.destination)
        .is_some_and(|entry| entry.owner == endpoint.id)
}
