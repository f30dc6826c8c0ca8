//! ICMP errors: they pass when the packet they quote belongs to an allowed flow.

use policy_common::{Direction, Endpoint};

use crate::{
    flows::life::{is_expired, opened_in},
    lookup::{Addresses, Clock, Flows, Policy},
    neighbour::Neighbour,
    packet::{Bytes, IpPacket, Wire, protocol, quote::Quote},
    port::Port,
    rules::{ask_as_opened, identify},
};

/// Whether a pod may send this error: only about a packet that it received.
#[inline(always)]
pub fn may_send<F: Wire, B: Bytes + ?Sized>(frame: &B, packet: &IpPacket<F>) -> bool {
    quoted(frame, packet).is_some_and(|quote| quote.destination == packet.source)
}

/// The packet that an error quotes.
#[inline(always)]
fn quoted<F: Wire, B: Bytes + ?Sized>(frame: &B, packet: &IpPacket<F>) -> Option<Quote<F>> {
    F::quote(frame, packet.transport() + 8, packet.end())
}

/// Whether the quoted packet belongs to a flow of the endpoint that is allowed now. A flow never
/// lives longer because of an error.
#[inline(always)]
pub fn is_related<F, W, B>(
    world: &W,
    frame: &B,
    endpoint: &Endpoint,
    direction: Direction,
    packet: &IpPacket<F>,
) -> bool
where
    F: Wire,
    W: Addresses<F> + Clock + Flows<F> + Policy,
    B: Bytes + ?Sized,
{
    let Some(quote) = quoted(frame, packet) else {
        return false;
    };
    let Some((source_port, destination_port)) = quote.ports else {
        return false;
    };
    let source = (quote.source, source_port);
    let destination = (quote.destination, destination_port);
    let (pod, peer) = match direction {
        // Somebody on the way complains about a packet of the pod, to the pod.
        Direction::Ingress if quote.source == packet.destination => (source, destination),
        // The pod complains about a packet that it received, to its sender.
        Direction::Egress
            if quote.destination == packet.source && quote.source == packet.destination =>
        {
            (destination, source)
        }
        _ => return false,
    };
    let key = F::key(endpoint.id, quote.protocol, pod, peer);
    let Some(flow) = world.flow(&key) else {
        return false;
    };
    if is_expired(&flow, quote.protocol, world.now(), world.hz()) {
        return false;
    }
    if flow.state.epoch == endpoint.epoch {
        return flow.state.verdict.allows();
    }
    let opened = opened_in(&flow.state);
    let identity = identify(world, endpoint, opened, 0, Neighbour::ANYBODY, peer.0, true);
    let has_ports = matches!(
        quote.protocol,
        protocol::TCP | protocol::UDP | protocol::SCTP
    );
    let port = match opened {
        Direction::Ingress => pod.1,
        Direction::Egress => peer.1,
    };
    let port = if has_ports {
        Port::of_be_bytes(port)
    } else {
        Port::NONE
    };
    ask_as_opened(world, endpoint, opened, identity, quote.protocol, port)
        .verdict()
        .allows()
}
