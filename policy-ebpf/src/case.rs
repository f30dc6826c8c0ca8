//! One packet at one endpoint's hook, and what follows from its headers alone.

use policy_common::{Direction, Endpoint, Flow};

use crate::{
    family::Family,
    flows::{
        life::{has_handshake, sender},
        phase::exchange,
    },
    neighbour::Neighbour,
    packet::{Bytes, IpPacket, Segment, transport::Kind},
    port::Port,
    steps::Steps,
};

/// One packet at one endpoint's hook.
pub struct Case<'a, F, B: ?Sized> {
    /// Its bytes, for what few packets need.
    pub frame: &'a B,
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// Where the packet goes, from the pod's side.
    pub direction: Direction,
    /// The interface by which it entered this host, 0 when it began here or lost it.
    pub ingress_ifindex: u32,
    /// Who stands behind its peer's address, if that is a link-local one.
    pub neighbour: Neighbour,
    /// Its addresses.
    pub packet: &'a IpPacket<F>,
    /// Its transport header.
    pub segment: Segment,
}

impl<F: Family, B: Bytes + ?Sized> Case<'_, F, B> {
    #[inline(always)]
    pub(crate) fn peer(&self) -> F {
        match self.direction {
            Direction::Ingress => self.packet.source,
            Direction::Egress => self.packet.destination,
        }
    }

    /// The key of its flow.
    #[inline(always)]
    pub(crate) fn key(&self) -> F::Key {
        let (source_port, destination_port) = self.segment.flow_ports();
        let source = (self.packet.source, source_port);
        let destination = (self.packet.destination, destination_port);
        let (pod, peer) = match self.direction {
            Direction::Ingress => (destination, source),
            Direction::Egress => (source, destination),
        };
        F::key(self.endpoint.id, self.segment.protocol(), pod, peer)
    }

    /// The port that the rules judge for a connection opened in `direction`.
    #[inline(always)]
    pub(crate) fn judged_port(&self, direction: Direction) -> Port {
        if !self.segment.has_ports() {
            return Port::NONE;
        }
        Port::of_be_bytes(if direction == self.direction {
            self.segment.destination_port()
        } else {
            self.segment.source_port()
        })
    }

    /// The packet begins a connection whatever came before.
    #[inline(always)]
    pub(crate) const fn reopens(&self) -> bool {
        self.segment.opens() && matches!(self.segment.kind(), Kind::Tcp | Kind::Sctp)
    }
}

impl<F: Family, B: Steps + ?Sized> Case<'_, F, B> {
    /// Moves a flow on by the packet. `is_due`: the entry is written anyway. What has no handshake needs no
    /// function of its own for that.
    #[inline(always)]
    pub(crate) fn step(&self, flow: &mut Flow, is_due: bool) {
        if has_handshake(self.segment.protocol()) {
            self.frame
                .step(self.packet, self.segment, self.direction, flow, is_due);
        } else {
            exchange(flow, sender(self.direction), is_due);
        }
    }
}
