//! TC ingress of the pod's host-side interface: what the pod sends.
//!
//! The checks of the sender come before everything else and hold for endpoints without policy too:
//! a free pod that forges an address breaks the policy of its victim.

use policy_common::{Direction, Endpoint, Reason, V4, V6};

use crate::{
    decision::Decision,
    family::{Family, read},
    fragment,
    judge::{Case, judge},
    link::{self, LinkControl},
    lookup::{Tables, World},
    origin::Origin,
    packet::{
        Bytes, IpPacket, Segment, arp,
        ethernet::{self, ethertype},
        icmp, protocol,
        transport::{self, Kind},
    },
    related,
};

const DHCP_CLIENT: [u8; 2] = 68u16.to_be_bytes();
const DHCP_SERVER: [u8; 2] = 67u16.to_be_bytes();

/// Decides about a frame that the pod sent.
#[inline(always)]
pub fn decide<W, B>(world: &W, frame: &B, origin: &Origin, endpoint: &Endpoint) -> Decision
where
    W: Tables<V4> + Tables<V6>,
    B: Bytes + ?Sized,
{
    if origin.has_vlan_tag {
        return Decision::of(Reason::VlanTag);
    }
    let Some(ethertype) = ethernet::ethertype(frame) else {
        return Decision::of(Reason::Malformed);
    };
    match ethertype {
        ethertype::IPV4 => ip::<V4, W, B>(world, frame, origin, endpoint),
        ethertype::IPV6 => ip::<V6, W, B>(world, frame, origin, endpoint),
        ethertype::ARP => arp(world, frame, endpoint),
        ethertype::VLAN | ethertype::SERVICE_VLAN => Decision::of(Reason::VlanTag),
        _ if endpoint.has(Endpoint::UNKNOWN) => Decision::of(Reason::UnknownEndpoint),
        _ if endpoint.is_isolated() => Decision::of(Reason::Ethertype),
        _ => Decision::of(Reason::NotIsolated),
    }
}

#[inline(always)]
fn arp<W, B>(world: &W, frame: &B, endpoint: &Endpoint) -> Decision
where
    W: Tables<V4>,
    B: Bytes + ?Sized,
{
    let Some(sender) = arp::sender(frame, ethernet::HEADER_LEN) else {
        return Decision::of(Reason::Malformed);
    };
    let unchecked = endpoint.has(Endpoint::NO_SOURCE_CHECK);
    // A probe (RFC 5227) has no sender address.
    if unchecked || sender.is_unspecified() || link::may_claim(world, endpoint, sender) {
        Decision::of(Reason::LinkControl)
    } else {
        Decision::of(Reason::ArpSender)
    }
}

#[inline(always)]
fn ip<F, W, B>(world: &W, frame: &B, origin: &Origin, endpoint: &Endpoint) -> Decision
where
    F: Family,
    W: Tables<F>,
    B: Bytes + ?Sized,
{
    let (packet, plain) = match read::<F, W, B>(world, frame) {
        Ok(read) => read,
        Err(error) => return error.into(),
    };
    if packet.destination.is_loopback() {
        return Decision::of(Reason::Loopback);
    }
    if !endpoint.is_isolated() {
        return free::<F, W, B>(world, frame, endpoint, &packet, plain);
    }
    let segment = match plain {
        Segment::NONE => {
            match fragment::segment(world, frame, endpoint, Direction::Egress, &packet).segment() {
                Ok(segment) => segment,
                Err(decision) => return decision,
            }
        }
        segment => segment,
    };
    if let Some(reason) = check_sender(world, frame, endpoint, &packet, segment) {
        return Decision::of(reason);
    }
    let decision = isolated(world, frame, origin, endpoint, &packet, segment);
    if packet.is_first_fragment() && !decision.drops() {
        fragment::remember(world, endpoint, Direction::Egress, &packet, segment);
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
    plain: Segment,
) -> Decision
where
    F: Family,
    W: Tables<F>,
    B: Bytes + ?Sized,
{
    let segment = match plain {
        Segment::NONE => match loosely(frame, packet).segment() {
            Ok(segment) => segment,
            Err(decision) => return decision,
        },
        segment => segment,
    };
    if let Some(reason) = check_sender(world, frame, endpoint, packet, segment) {
        return Decision::of(reason);
    }
    if !endpoint.has(Endpoint::UNKNOWN) {
        return Decision::of(Reason::NotIsolated);
    }
    let to_host = world
        .address(packet.destination)
        .is_some_and(|entry| entry.is_host());
    Decision::of(if to_host {
        Reason::Host
    } else {
        Reason::UnknownEndpoint
    })
}

/// The transport header of a packet of an endpoint without policy, as far as the checks of the
/// sender need it.
#[inline(never)]
fn loosely<F: Family, B: Bytes + ?Sized>(frame: &B, packet: &IpPacket<F>) -> fragment::Read {
    // Nothing that they look for is in a later fragment; its first part was checked.
    if !packet.is_later_fragment() {
        if let Some(segment) = transport::parse(frame, packet) {
            return fragment::Read::of(segment);
        }
        if matches!(
            transport::kind_of(packet.protocol()),
            Kind::Udp | Kind::Icmp
        ) {
            return fragment::Read::failed(Reason::Malformed);
        }
    }
    fragment::Read::of(Segment::unread(packet.protocol()))
}

/// Why the pod may not send this packet at all: a reason to drop it, or that it keeps the link
/// alive.
#[inline(always)]
fn check_sender<F, W, B>(
    world: &W,
    frame: &B,
    endpoint: &Endpoint,
    packet: &IpPacket<F>,
    segment: Segment,
) -> Option<Reason>
where
    F: Family,
    W: Tables<F>,
    B: Bytes + ?Sized,
{
    if !may_send_from(world, endpoint, packet, segment) {
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
            if !is_unchecked(endpoint)
                && icmp::is_error(packet.protocol(), kind)
                && !packet.is_later_fragment()
                && !related::may_send(frame, packet)
            {
                return Some(Reason::ForgedError);
            }
        }
        Kind::Udp if world.is_tunnel_port(u16::from_be_bytes(segment.destination_port())) => {
            return reaches_host(world, packet).then_some(Reason::Encapsulation);
        }
        Kind::Other
            if matches!(
                packet.protocol(),
                protocol::IPIP | protocol::IPV6 | protocol::GRE
            ) =>
        {
            return reaches_host(world, packet).then_some(Reason::Encapsulation);
        }
        _ => {}
    }
    match link::classify(world, frame, packet, segment, Some(endpoint)) {
        LinkControl::No => None,
        LinkControl::Yes => Some(Reason::LinkControl),
        LinkControl::Forged => Some(Reason::NeighbourSender),
    }
}

/// Whether nobody can say which addresses are the endpoint's.
#[inline(always)]
const fn is_unchecked(endpoint: &Endpoint) -> bool {
    endpoint.has(Endpoint::NO_SOURCE_CHECK) || endpoint.has(Endpoint::UNKNOWN)
}

#[inline(never)]
fn reaches_host<F: Family, W: Tables<F>>(world: &W, packet: &IpPacket<F>) -> bool {
    let destination = packet.destination;
    destination.is_multicast()
        || destination.is_broadcast()
        || world
            .address(destination)
            .is_some_and(|entry| entry.is_host())
}

/// The source check.
#[inline(always)]
fn may_send_from<F, W>(
    world: &W,
    endpoint: &Endpoint,
    packet: &IpPacket<F>,
    segment: Segment,
) -> bool
where
    F: Family,
    W: Tables<F>,
{
    let source = packet.source;
    is_unchecked(endpoint)
        || (source == F::of(endpoint) && !source.is_unspecified())
        || may_borrow(world, endpoint, packet, segment)
}

/// Whether the endpoint may send from a source that is not its first address.
#[inline(never)]
fn may_borrow<F, W>(world: &W, endpoint: &Endpoint, packet: &IpPacket<F>, segment: Segment) -> bool
where
    F: Family,
    W: Tables<F>,
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
        let stays = packet.destination.is_link_scope() || link::is_bare(packet, segment);
        return stays && link::may_claim(world, endpoint, source);
    }
    world
        .address(source)
        .is_some_and(|entry| entry.owner == endpoint.id && !entry.is_host())
}

#[inline(always)]
fn isolated<F, W, B>(
    world: &W,
    frame: &B,
    origin: &Origin,
    endpoint: &Endpoint,
    packet: &IpPacket<F>,
    segment: Segment,
) -> Decision
where
    F: Family,
    W: Tables<F> + World,
    B: Bytes + ?Sized,
{
    let direction = Direction::Egress;
    if matches!(segment.kind(), Kind::Icmp)
        && icmp::is_error(packet.protocol(), segment.icmp_type())
        && !packet.is_later_fragment()
        && related::is_related(world, frame, endpoint, direction, packet)
    {
        return Decision::of(Reason::RelatedError);
    }
    let case = Case {
        endpoint,
        direction,
        origin,
        packet,
        segment,
    };
    judge(world, &case)
}
