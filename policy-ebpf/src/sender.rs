//! What a pod may send at all, with or without policy: addresses that are its own, and nothing that
//! speaks for a router or for another, or enters a tunnel's end on this node.
//!
//! Knows no policy: what passes here is judged elsewhere.

use policy_common::{Endpoint, Reason, V4};

use crate::{
    decision::Decision,
    family::Family,
    link::{self, LinkControl},
    lookup::{Addresses, Policy},
    packet::{IpPacket, Segment, Wire, arp, icmp, protocol, transport::Kind},
    steps::Steps,
};

const DHCP_CLIENT: [u8; 2] = 68u16.to_be_bytes();
const DHCP_SERVER: [u8; 2] = 67u16.to_be_bytes();

/// Decides about an ARP packet.
#[inline(always)]
pub(crate) fn decide_arp<W, B>(world: &W, frame: &B, endpoint: &Endpoint) -> Decision
where
    W: Addresses<V4>,
    B: Steps + ?Sized,
{
    let Some(sender) = arp::sender(frame, B::LINK_HEADER) else {
        return Decision::of(Reason::Malformed);
    };
    if !arp::is_alone(frame, B::LINK_HEADER) {
        return Decision::of(Reason::LinkData);
    }
    if endpoint.has(Endpoint::NO_SOURCE_CHECK) {
        return Decision::of(Reason::LinkControl);
    }
    // A probe (RFC 5227) has no sender address.
    let is_own = sender.is_unspecified() || link::may_claim(world, endpoint, sender);
    if is_own && arp::is_plain(frame, B::LINK_HEADER) {
        Decision::of(Reason::LinkControl)
    } else {
        Decision::of(Reason::ArpSender)
    }
}

/// Why the pod may not send this packet at all: a reason to drop it, or that it keeps the link
/// alive.
#[inline(always)]
pub(crate) fn check<F, W, B>(
    world: &W,
    frame: &B,
    endpoint: &Endpoint,
    packet: &IpPacket<F>,
    segment: Segment,
) -> Option<Reason>
where
    F: Wire,
    W: Addresses<F> + Policy,
    B: Steps + ?Sized,
{
    if !may_send_from(world, frame, endpoint, packet, segment) {
        return Some(Reason::SourceAddress);
    }
    match segment.kind() {
        Kind::Icmp => {
            let kind = segment.icmp_type();
            if icmp::is_router_message(packet.protocol(), kind)
                && (F::VERSION == 6) == (packet.protocol() == protocol::ICMPV6)
            {
                return Some(Reason::RouterMessage);
            }
            if !endpoint.has(Endpoint::NO_SOURCE_CHECK)
                && icmp::is_error(packet.protocol(), kind)
                && !packet.is_later_fragment()
                && !frame.may_complain(packet)
            {
                return Some(Reason::ForgedError);
            }
        }
        Kind::Udp if world.is_tunnel_port(u16::from_be_bytes(segment.destination_port())) => {
            return may_be_unpacked(world, frame, packet).then_some(Reason::Encapsulation);
        }
        Kind::Other if protocol::is_tunnel(packet.protocol()) => {
            return may_be_unpacked(world, frame, packet).then_some(Reason::Encapsulation);
        }
        _ => {}
    }
    match link::classify(world, frame, packet, segment, Some(endpoint)) {
        LinkControl::No => None,
        LinkControl::Yes => Some(Reason::LinkControl),
        LinkControl::Forged => Some(Reason::NeighbourSender),
        LinkControl::Router => Some(Reason::RouterMessage),
    }
}

/// Whether this node, or another of the cluster, may take the packet for its own: addresses of
/// interfaces, and whatever else the kernel delivers locally.
#[inline(always)]
fn may_be_unpacked<F, W, B>(world: &W, frame: &B, packet: &IpPacket<F>) -> bool
where
    F: Wire,
    W: Addresses<F>,
    B: Steps + ?Sized,
{
    frame
        .lend(packet, |packet| is_this_nodes(world, packet))
        .unwrap_or(true)
}

#[inline(never)]
fn is_this_nodes<F: Family, W: Addresses<F>>(world: &W, packet: &IpPacket<F>) -> bool {
    let destination = packet.destination;
    destination.is_multicast()
        || destination.is_broadcast()
        || destination.is_unspecified()
        || world
            .address(destination)
            .is_some_and(|entry| entry.is_node())
        || world.is_local(destination)
}

/// The source check.
#[inline(always)]
fn may_send_from<F, W, B>(
    world: &W,
    frame: &B,
    endpoint: &Endpoint,
    packet: &IpPacket<F>,
    segment: Segment,
) -> bool
where
    F: Wire,
    W: Addresses<F>,
    B: Steps + ?Sized,
{
    let source = packet.source;
    endpoint.has(Endpoint::NO_SOURCE_CHECK)
        || (source == F::of(endpoint) && !source.is_unspecified())
        || frame
            .lend(packet, |packet| {
                may_borrow(world, frame, endpoint, packet, segment)
            })
            .unwrap_or(false)
}

/// Whether the endpoint may send from a source that is not its first address.
#[inline(never)]
fn may_borrow<F, W, B>(
    world: &W,
    frame: &B,
    endpoint: &Endpoint,
    packet: &IpPacket<F>,
    segment: Segment,
) -> bool
where
    F: Wire,
    W: Addresses<F>,
    B: Steps + ?Sized,
{
    let source = packet.source;
    if source.is_unspecified() {
        return match F::VERSION {
            4 => {
                // A client without an address asks everybody (RFC 2131, 4.1).
                matches!(segment.kind(), Kind::Udp)
                    && packet.destination.is_broadcast()
                    && segment.source_port() == DHCP_CLIENT
                    && segment.destination_port() == DHCP_SERVER
            }
            // Duplicate address detection, and reports about its groups (RFC 3590).
            _ => {
                matches!(segment.kind(), Kind::Icmp)
                    && packet.protocol() == protocol::ICMPV6
                    && packet.destination.is_multicast()
                    && packet.destination.is_link_scope()
                    && (segment.icmp_type() == icmp::V6_NEIGHBOUR_SOLICITATION
                        || icmp::is_listener_discovery(segment.icmp_type()))
            }
        };
    }
    if source.is_link_local() {
        // Linux asks whether a neighbour is still there from its link-local address, also for a
        // global one.
        return link::may_claim(world, endpoint, source)
            && (packet.destination.is_link_scope()
                || link::probes(world, frame, packet, segment, endpoint));
    }
    world
        .address(source)
        .is_some_and(|entry| entry.owner == endpoint.id && !entry.is_host())
}
