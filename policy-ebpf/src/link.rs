//! What keeps a link alive – neighbour discovery (RFC 4861), MLD (RFC 2710, RFC 3810), IGMP – and
//! is not policed beyond its sender. Narrow on purpose: the same message types can carry data, so that
//! only what says what it must, and has no room for more, counts.

use policy_common::{Endpoint, EndpointId};

use crate::{
    family::Family,
    lookup::Addresses,
    packet::{
        Bytes, IpPacket, Segment, Wire,
        icmp::{
            self, V6_NEIGHBOUR_ADVERTISEMENT, V6_NEIGHBOUR_SOLICITATION, V6_REDIRECT,
            V6_ROUTER_ADVERTISEMENT,
        },
        listener, neighbour, padding, protocol,
    },
    steps::Steps,
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
    /// What only routers say, and no pod is one.
    Router,
}

/// The router alert that goes with a report (RFC 2113; RFC 2711, here with what pads it).
const ALERT_V4: [u8; 4] = [0x94, 4, 0, 0];
const ALERT_V6: [u8; 6] = [5, 2, 0, 0, 1, 0];

/// Classifies a packet; `sender` is the endpoint that sent it, where its claims must be checked.
#[inline(always)]
pub fn classify<F: Wire, W: Addresses<F>, B: Steps + ?Sized>(
    world: &W,
    frame: &B,
    packet: &IpPacket<F>,
    segment: Segment,
    sender: Option<&Endpoint>,
) -> LinkControl {
    let may_be = if F::VERSION == 6 {
        segment.protocol() == protocol::ICMPV6 && packet.protocol() == protocol::ICMPV6
    } else {
        packet.protocol() == protocol::IGMP
    };
    if may_be {
        frame.message(world, packet, segment, sender)
    } else {
        LinkControl::No
    }
}

/// Classifies an ICMPv6 or IGMP message.
#[inline(always)]
pub fn message<F: Wire, W: Addresses<F>, B: Bytes + ?Sized>(
    world: &W,
    frame: &B,
    packet: &IpPacket<F>,
    segment: Segment,
    sender: Option<&Endpoint>,
) -> LinkControl {
    if F::VERSION == 6 {
        return icmpv6(world, frame, packet, segment, sender);
    }
    igmp(frame, packet, sender.is_some())
}

#[inline(always)]
fn igmp<F: Wire, B: Bytes + ?Sized>(
    frame: &B,
    packet: &IpPacket<F>,
    from_pod: bool,
) -> LinkControl {
    let at = packet.transport();
    let behind = B::LINK_HEADER + 20;
    let has_bare_header = at == behind
        || (at == behind + 4 && frame.bytes(behind).is_some_and(|all| all == ALERT_V4));
    let is_link_control = packet.hop_limit() == 1
        && packet.destination.is_multicast()
        && !packet.has_fragment_header()
        && has_bare_header
        && padding::is_blank(frame, packet.end());
    if !is_link_control {
        return LinkControl::No;
    }
    about_groups(listener::igmp(frame, at, packet.end()), from_pod)
}

/// Where it arrives, nobody knows any more whether a router asks or a pod that nothing isolates.
#[inline(always)]
fn about_groups(message: listener::Message, from_pod: bool) -> LinkControl {
    match message {
        listener::Message::Other => LinkControl::No,
        listener::Message::Query if from_pod => LinkControl::Router,
        listener::Message::Query | listener::Message::Report => LinkControl::Yes,
    }
}

#[inline(always)]
fn icmpv6<F: Wire, W: Addresses<F>, B: Bytes + ?Sized>(
    world: &W,
    frame: &B,
    packet: &IpPacket<F>,
    segment: Segment,
    sender: Option<&Endpoint>,
) -> LinkControl {
    if packet.is_later_fragment() {
        return LinkControl::No;
    }
    let kind = segment.icmp_type();
    if icmp::is_listener_discovery(kind) {
        return mld(frame, packet, kind, sender.is_some());
    }
    let is_control = if icmp::is_neighbour_discovery(kind) && packet.hop_limit() == 255 {
        // Every router lowers the hop limit: 255 proves a neighbour.
        if let Some(endpoint) = sender
            && is_forged(world, frame, packet, kind, endpoint)
        {
            return LinkControl::Forged;
        }
        is_discovery(world, frame, packet, kind)
    } else {
        false
    };
    if is_control {
        LinkControl::Yes
    } else {
        LinkControl::No
    }
}

#[inline(always)]
fn mld<F: Wire, B: Bytes + ?Sized>(
    frame: &B,
    packet: &IpPacket<F>,
    kind: u8,
    from_pod: bool,
) -> LinkControl {
    let is_link_control = packet.hop_limit() == 1
        && packet.destination.is_multicast()
        && packet.destination.is_link_scope()
        && packet.transport() == B::LINK_HEADER + 40 + 8
        && frame
            .bytes(B::LINK_HEADER + 40 + 2)
            .is_some_and(|options| options == ALERT_V6)
        && packet.end() == frame.length();
    if !is_link_control {
        return LinkControl::No;
    }
    let message = listener::mld(frame, packet.transport(), packet.end(), kind);
    about_groups(message, from_pod)
}

/// Whether a message of neighbour discovery is that and nothing else.
#[inline(always)]
fn is_discovery<F: Wire, W: Addresses<F>, B: Bytes + ?Sized>(
    world: &W,
    frame: &B,
    packet: &IpPacket<F>,
    kind: u8,
) -> bool {
    if packet.transport() != B::LINK_HEADER + 40 {
        return false;
    }
    let destination = packet.destination;
    if matches!(kind, V6_ROUTER_ADVERTISEMENT | V6_REDIRECT) {
        // Routers have much to say; pods are none.
        return destination.is_link_scope() && packet.source.is_link_local();
    }
    let asks_first = packet.source.is_unspecified();
    let form = neighbour::form(frame, packet.transport(), packet.end(), kind, asks_first);
    if form == neighbour::Form::Loose {
        return false;
    }
    if destination.is_multicast() {
        return destination.is_link_scope();
    }
    // A question to one host is about that host.
    if kind == V6_NEIGHBOUR_SOLICITATION
        && F::address_at(frame, packet.transport() + 8) != Some(destination)
    {
        return false;
    }
    // Beyond this node the destination itself would be a message.
    destination.is_link_local()
        || world
            .address(destination)
            .is_some_and(|entry| entry.is_host() || entry.owner != EndpointId::NONE)
}

/// Whether a pod speaks for another: about an address that is not its own, or about its own at
/// another's hardware address.
#[inline(always)]
fn is_forged<F: Wire, W: Addresses<F>, B: Bytes + ?Sized>(
    world: &W,
    frame: &B,
    packet: &IpPacket<F>,
    kind: u8,
    endpoint: &Endpoint,
) -> bool {
    if endpoint.has(Endpoint::NO_SOURCE_CHECK) {
        return false;
    }
    let asks_first = packet.source.is_unspecified();
    let form = neighbour::form(frame, packet.transport(), packet.end(), kind, asks_first);
    if form == neighbour::Form::OfAnother {
        return true;
    }
    // Duplicate address detection asks without a source; every other question may be about anybody.
    let must_own = kind == V6_NEIGHBOUR_ADVERTISEMENT
        || (kind == V6_NEIGHBOUR_SOLICITATION && packet.source.is_unspecified());
    must_own
        && !F::address_at(frame, packet.transport() + 8)
            .is_some_and(|target| may_claim(world, endpoint, target))
}

/// Whether a pod asks from its link-local address whether a neighbour is still there, by the
/// neighbour's global address, as Linux does.
#[inline(always)]
pub(crate) fn probes<F: Wire, W: Addresses<F>, B: Steps + ?Sized>(
    world: &W,
    frame: &B,
    packet: &IpPacket<F>,
    segment: Segment,
    endpoint: &Endpoint,
) -> bool {
    packet.protocol() == protocol::ICMPV6
        && matches!(
            segment.icmp_type(),
            V6_NEIGHBOUR_SOLICITATION | V6_NEIGHBOUR_ADVERTISEMENT
        )
        && frame.message(world, packet, segment, Some(endpoint)) != LinkControl::No
}

/// The endpoint's own address; of link-local ones the one that its interface gave itself, or where
/// that is not known, any that is not this host's.
#[inline(always)]
pub fn may_claim<F: Family, W: Addresses<F>>(world: &W, endpoint: &Endpoint, address: F) -> bool {
    if address == F::of(endpoint) && !address.is_unspecified() {
        return true;
    }
    if address.is_link_local() && endpoint.has(Endpoint::EUI_64) {
        return address.widened() == endpoint.link_local();
    }
    match world.address(address) {
        Some(entry) => entry.owner == endpoint.id && !entry.is_host(),
        None => address.is_link_local(),
    }
}
