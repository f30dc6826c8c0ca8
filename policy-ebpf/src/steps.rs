//! Steps of a decision that few packets take.
//!
//! In the kernel each is a global function of the object, which the verifier follows once, and not once for
//! every way that leads to it. Nothing but numbers goes into such a function and comes back. So the kernel's
//! frame takes these steps in its own way, and every other frame as the library writes them. Invariant: both
//! ways say the same.

use policy_common::{Direction, Endpoint, Flow};

use crate::{
    family::Family,
    flows::phase,
    link::{self, LinkControl},
    lookup::{Addresses, Clock, Flows, Policy},
    packet::{Bare, Bytes, IpPacket, ParseError, Segment, Wire, transport},
    related,
};

/// A frame, and the steps that only few take.
pub trait Steps: Bytes {
    /// Follows all headers of the packet, and reads its transport header where it has one that is all there.
    ///
    /// # Errors
    /// They cannot be followed.
    #[inline(always)]
    fn follow<F: Wire>(&self) -> Result<(IpPacket<F>, Segment), ParseError> {
        let packet = F::parse(self, Self::LINK_HEADER)?;
        let segment = transport::of(self, &packet);
        Ok((packet, segment))
    }

    /// What an ICMPv6 or IGMP message is to its link; `sender` is the endpoint that sent it, where its claims
    /// must be checked.
    #[inline(always)]
    fn message<F: Wire, W: Addresses<F>>(
        &self,
        world: &W,
        packet: &IpPacket<F>,
        segment: Segment,
        sender: Option<&Endpoint>,
    ) -> LinkControl {
        link::message(world, self, packet, segment, sender)
    }

    /// Whether the packet that an ICMP error quotes belongs to a flow of the endpoint that is allowed now.
    #[inline(always)]
    fn is_related<F, W>(
        &self,
        world: &W,
        endpoint: &Endpoint,
        direction: Direction,
        packet: &IpPacket<F>,
    ) -> bool
    where
        F: Wire,
        W: Addresses<F> + Clock + Flows<F> + Policy,
    {
        related::is_related(world, self, endpoint, direction, packet)
    }

    /// Moves a flow on by a packet in this direction. `is_due`: as for [`phase::advance`].
    #[inline(always)]
    fn step<A>(
        &self,
        packet: &IpPacket<A>,
        segment: Segment,
        direction: Direction,
        flow: &mut Flow,
        is_due: bool,
    ) {
        phase::step(self, packet, segment, direction, flow, is_due);
    }

    /// Lends a packet's headers to what is a function of its own; `None`: there is no memory for them. What
    /// is lent from the stack stands there from the beginning, and most packets come to no such function.
    #[inline(always)]
    fn lend<F: Family, R>(
        &self,
        packet: &IpPacket<F>,
        then: impl FnOnce(&IpPacket<F>) -> R,
    ) -> Option<R> {
        Some(then(packet))
    }

    /// Whether a pod may send this ICMP error.
    #[inline(always)]
    fn may_complain<F: Wire>(&self, packet: &IpPacket<F>) -> bool {
        related::may_send(self, packet)
    }
}

impl Steps for [u8] {}

impl Steps for Bare<'_> {}
