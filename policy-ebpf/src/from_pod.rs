//! TC ingress of the pod's host-side interface: what the pod sends.
//!
//! The checks of the sender come before everything else and hold for endpoints without policy too:
//! a free pod that forges an address breaks the policy of its victim.

use policy_common::{Direction, Endpoint, Reason, V4, V6};

use crate::{
    case::Case,
    decision::Decision,
    family::Family,
    fragment,
    judge::related_or,
    lookup::{Tables, World},
    neighbour::Neighbour,
    origin::Origin,
    packet::{
        Bytes, IpPacket, Segment, Wire,
        ethernet::{self, ethertype},
        transport::{self, Kind},
    },
    read::read_known,
    sender,
    steps::Steps,
};

/// Decides about a frame that the pod sent.
#[inline(always)]
pub fn decide<W, B>(world: &W, frame: &B, origin: &Origin, endpoint: &Endpoint) -> Decision
where
    W: World,
    B: Steps + ?Sized,
{
    if origin.has_vlan_tag {
        return Decision::of(Reason::VlanTag);
    }
    let Some(ethertype) = ethernet::ethertype(frame) else {
        return Decision::of(Reason::Malformed);
    };
    if endpoint.has(Endpoint::MAC) && !ethernet::is_from(frame, endpoint.mac) {
        return Decision::of(Reason::LinkAddress);
    }
    let is_free = !endpoint.is_isolated() && !endpoint.has(Endpoint::UNKNOWN);
    if is_free && is_plainly_own(frame, ethertype, endpoint) {
        return Decision::of(Reason::NotIsolated);
    }
    match ethertype {
        ethertype::IPV4 => ip::<V4, W, B>(world, frame, origin, endpoint),
        ethertype::IPV6 => ip::<V6, W, B>(world, frame, origin, endpoint),
        ethertype::ARP => sender::decide_arp(world, frame, endpoint),
        ethertype::VLAN | ethertype::SERVICE_VLAN => Decision::of(Reason::VlanTag),
        _ if endpoint.has(Endpoint::UNKNOWN) => Decision::of(Reason::UnknownEndpoint),
        _ if endpoint.is_isolated() => Decision::of(Reason::Ethertype),
        _ => Decision::of(Reason::NotIsolated),
    }
}

/// Whether a frame is a plain TCP segment from the endpoint's first address, of which the checks of the
/// sender ask no more.
#[inline(always)]
fn is_plainly_own<B: Bytes + ?Sized>(frame: &B, ethertype: u16, endpoint: &Endpoint) -> bool {
    match ethertype {
        ethertype::IPV4 => is_tcp_of::<V4, B>(frame, endpoint),
        ethertype::IPV6 => is_tcp_of::<V6, B>(frame, endpoint),
        _ => false,
    }
}

#[inline(always)]
fn is_tcp_of<F: Wire, B: Bytes + ?Sized>(frame: &B, endpoint: &Endpoint) -> bool {
    F::plain_tcp(frame).is_some_and(|[source, destination]| {
        source == F::of(endpoint) && !source.is_unspecified() && !destination.is_loopback()
    })
}

#[inline(always)]
fn ip<F, W, B>(world: &W, frame: &B, origin: &Origin, endpoint: &Endpoint) -> Decision
where
    F: Wire,
    W: Tables<F> + World,
    B: Steps + ?Sized,
{
    let (packet, own) = match read_known::<F, B>(frame) {
        Ok(read) => read,
        Err(error) => return error.into(),
    };
    if packet.destination.is_loopback() {
        return Decision::of(Reason::Loopback);
    }
    if !endpoint.is_isolated() {
        return free::<F, W, B>(world, frame, endpoint, &packet, own);
    }
    let direction = Direction::Egress;
    let segment = match fragment::segment(world, endpoint, direction, &packet, own).segment() {
        Ok(segment) => segment,
        Err(decision) => return decision,
    };
    if let Some(reason) = sender::check(world, frame, endpoint, &packet, segment) {
        return Decision::of(reason);
    }
    let case = Case {
        frame,
        endpoint,
        direction,
        ingress_ifindex: origin.ingress_ifindex,
        neighbour: Neighbour::ANYBODY,
        packet: &packet,
        segment,
    };
    let decision = related_or(world, &case);
    if packet.is_first_fragment() && !decision.drops() {
        fragment::remember(world, endpoint, direction, &packet, segment);
    }
    decision
}

/// A packet of an endpoint without policy, or of one that is not known yet.
#[inline(always)]
fn free<F, W, B>(
    world: &W,
    frame: &B,
    endpoint: &Endpoint,
    packet: &IpPacket<F>,
    own: Segment,
) -> Decision
where
    F: Wire,
    W: Tables<F>,
    B: Steps + ?Sized,
{
    let Some(segment) = loosely(packet, own) else {
        return Decision::of(Reason::Malformed);
    };
    if let Some(reason) = sender::check(world, frame, endpoint, packet, segment) {
        return Decision::of(reason);
    }
    if !endpoint.has(Endpoint::UNKNOWN) {
        return Decision::of(Reason::NotIsolated);
    }
    let to_host = world
        .address(packet.destination)
        .is_some_and(|entry| entry.is_host());
    if to_host {
        // Of this host, and of nobody to whom it passes the packet on.
        Decision::of(Reason::Host).owed()
    } else {
        Decision::of(Reason::UnknownEndpoint)
    }
}

/// The transport header of a packet of an endpoint without policy, as far as the checks of the
/// sender need it: nothing they look for is in a later fragment, whose first part was checked.
#[inline(always)]
fn loosely<F: Family>(packet: &IpPacket<F>, own: Segment) -> Option<Segment> {
    if own != Segment::NONE {
        return Some(own);
    }
    let is_short = !packet.is_later_fragment()
        && matches!(
            transport::kind_of(packet.protocol()),
            Kind::Udp | Kind::Icmp
        );
    (!is_short).then_some(Segment::unread(packet.protocol()))
}
