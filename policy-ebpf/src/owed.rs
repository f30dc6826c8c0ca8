//! Egress that is judged at the pod that a packet reaches, because its sender's hook could not: this host
//! passes on what is sent to its own addresses (host ports, node ports, Services on a dummy interface).
//!
//! Nothing but the ports of first fragments is remembered of such a judgement: the answers come back by the
//! flow of the address that the pod asked. Invariants: every packet that was stamped as owed is judged, and
//! one from a pod's interface that lost its stamp too; one that was judged where it began costs a look at the
//! stamp.

use policy_common::{Direction, Endpoint, EndpointId, Reason, V4, V6};

use crate::{
    decision::Decision,
    flows::life::is_expired,
    fragment,
    lookup::{Tables, World},
    neighbour::Neighbour,
    origin::{Link, Origin, Stamp},
    packet::{
        IpPacket, Segment, Wire,
        ethernet::{self, ethertype},
        protocol,
    },
    port::Port,
    read::read,
    rules::{ask_as_opened, identify},
    steps::Steps,
};

/// Nothing is said against it.
const NOTHING: Decision = Decision::of(Reason::Allowed);

/// By which way a packet came whose egress may be owed, by its stamp or because a packet of a pod has none:
/// the stamp, and from bit 32 the interface. 0 for every other packet. `link`: of the interface by which it
/// came.
#[inline(always)]
pub const fn way(origin: &Origin, link: Link) -> u64 {
    const OWED: u64 = 1 << 16;
    let stamp = Stamp(origin.stamp);
    let may_be = if origin.is_of_this_hosts_socket() {
        false
    } else if stamp.is_stamp() {
        stamp.is_owed()
    } else if origin.ingress_ifindex == 0 {
        !origin.has_socket && !origin.has_foreign_socket
    } else {
        link.is_pods()
    };
    if may_be {
        (origin.ingress_ifindex as u64) << 32 | OWED | origin.stamp as u64
    } else {
        0
    }
}

/// Number of the endpoint that sent the packet. A judgement of its egress only ever closes something, so
/// that a stamp is believed here whatever way the packet took.
#[inline(never)]
fn debtor<W: World, B: Steps + ?Sized>(world: &W, frame: &B, way: u64) -> u32 {
    let stamp = Stamp(way as u16);
    let id = match world.number_at((way >> 32) as u32) {
        Some(id) => id,
        None if stamp.is_stamp() => stamp.endpoint(),
        // By a bridge, and without a stamp: then by its address.
        None => match ethernet::ethertype(frame) {
            Some(ethertype::IPV4) => owner::<V4, W, B>(world, frame, 12),
            Some(ethertype::IPV6) => owner::<V6, W, B>(world, frame, 8),
            _ => EndpointId::NONE,
        },
    };
    id.0.into()
}

#[inline(always)]
fn owner<F: Wire, W: Tables<F>, B: Steps + ?Sized>(
    world: &W,
    frame: &B,
    offset: usize,
) -> EndpointId {
    F::address_at(frame, B::LINK_HEADER + offset)
        .and_then(|source| world.address(source))
        .map_or(EndpointId::NONE, |entry| entry.owner)
}

/// What is said against the egress of the pod that sent a packet: 0, or a decision with the pod's number in
/// the bits from 16 to 31, because functions of BPF programs return scalars.
#[inline(always)]
pub fn against<W: World, B: Steps + ?Sized>(world: &W, frame: &B, way: u64) -> u64 {
    let debtor = frame.opaque(debtor(world, frame, way).into());
    let id = EndpointId(debtor as u16);
    if id == EndpointId::NONE {
        return 0;
    }
    let decision = match world.source_endpoint(id) {
        Some(source) => decide(world, frame, source, way),
        // It went while the packet was on its way.
        None => Decision::of(Reason::UnknownEndpoint),
    };
    if decision.drops() {
        decision.0 | u64::from(id.0) << 16
    } else {
        0
    }
}

#[inline(always)]
fn decide<W: World, B: Steps + ?Sized>(
    world: &W,
    frame: &B,
    source: &Endpoint,
    way: u64,
) -> Decision {
    if !source.has(Endpoint::EGRESS_ISOLATED) && !source.has(Endpoint::UNKNOWN) {
        return NOTHING;
    }
    match ethernet::ethertype(frame) {
        Some(ethertype::IPV4) => weigh::<V4, W, B>(world, frame, source, way),
        Some(ethertype::IPV6) => weigh::<V6, W, B>(world, frame, source, way),
        // Nobody translates it.
        _ => NOTHING,
    }
}

#[inline(never)]
fn weigh<F, W, B>(world: &W, frame: &B, source: &Endpoint, way: u64) -> Decision
where
    F: Wire,
    W: Tables<F> + World,
    B: Steps + ?Sized,
{
    let direction = Direction::Egress;
    let (packet, own) = match read::<F, B>(frame) {
        Ok(read) => read,
        Err(error) => return error.into(),
    };
    let peer = packet.destination;
    let is_icmp = matches!(packet.protocol(), protocol::ICMP | protocol::ICMPV6);
    if !Stamp(way as u16).is_stamp() && (is_icmp || peer.is_multicast()) {
        // Its destination was judged where it began: it is no translated one.
        return NOTHING;
    }
    if source.has(Endpoint::UNKNOWN) {
        return Decision::of(Reason::UnknownEndpoint);
    }
    let segment = match fragment::segment(world, frame, source, direction, &packet, own).segment() {
        Ok(segment) => segment,
        Err(decision) => return decision,
    };
    // A Service's address that nobody translated is an address as any other.
    let identity = identify(world, source, direction, 0, Neighbour::ANYBODY, peer, false);
    let has_ports = frame.opaque(segment.has_ports().into()) != 0;
    let port = if has_ports {
        Port::of_be_bytes(segment.destination_port())
    } else {
        Port::NONE
    };
    let answer = ask_as_opened(world, source, direction, identity, packet.protocol(), port);
    // An answer to who opened a connection to the pod needs no rule.
    if !answer.verdict().allows() && !belongs(world, source, &packet, segment) {
        return Decision::by_rules(Reason::Policy, answer);
    }
    if packet.is_first_fragment() {
        fragment::remember(world, frame, source, direction, &packet, segment);
    }
    NOTHING
}

/// Whether the packet belongs to a flow that its sender's hook allowed just before.
#[inline(never)]
fn belongs<F, W>(world: &W, source: &Endpoint, packet: &IpPacket<F>, segment: Segment) -> bool
where
    F: Wire,
    W: Tables<F>,
{
    if !segment.is_tracked() {
        return false;
    }
    let (source_port, destination_port) = segment.flow_ports();
    let is_current = world.lend_for_flow(|key| {
        let pod = (packet.source, source_port);
        let peer = (packet.destination, destination_port);
        *key = F::key(source.id, segment.protocol(), pod, peer);
        let Some(flow) = world.flow(key) else {
            return false;
        };
        flow.state.epoch == source.epoch
            && flow.state.verdict.allows()
            // Else it is what is still to be judged.
            && !flow.state.verdict.is_owed()
            && !is_expired(&flow, segment.protocol(), world.now(), world.hz())
    });
    is_current.unwrap_or(false)
}
