//! The verdict on a packet of an isolated endpoint: by its flow, else by the rules.
//!
//! Invariant: a packet passes only if its flow was allowed under the endpoint's current epoch, or
//! if the rules of the direction in which it travels allow it now.

use policy_common::Reason;

use crate::{
    case::Case,
    decision::Decision,
    family::Family,
    flows::{
        look_up::{MAY_OPEN, look_up, rides_unchanged},
        open::{Found, open},
    },
    lookup::{Recall, Tables, World},
    packet::{IpPacket, Segment, Wire, icmp, transport::Kind},
    steps::Steps,
};

/// Judges a packet of an endpoint of which at least one direction is isolated; an ICMP error also by
/// the packet that it quotes.
#[inline(always)]
pub fn related_or<F, W, B>(world: &W, case: &Case<'_, F, B>) -> Decision
where
    F: Wire,
    W: Tables<F> + World,
    B: Steps + ?Sized,
{
    if matches!(case.segment.kind(), Kind::Icmp)
        && icmp::is_error(case.packet.protocol(), case.segment.icmp_type())
        && !case.packet.is_later_fragment()
        && case
            .frame
            .is_related(world, case.endpoint, case.direction, case.packet)
    {
        return Decision::of(Reason::RelatedError);
    }
    judge(world, case)
}

/// Judges by the packet's own headers.
#[inline(always)]
pub fn judge<F, W, B>(world: &W, case: &Case<'_, F, B>) -> Decision
where
    F: Family,
    W: Tables<F> + World,
    B: Steps + ?Sized,
{
    let key = case.key();
    if case.segment.travels()
        && let Some((state, last_seen)) = Recall::<F>::known_flow(world, &key)
        && rides_unchanged(case, &state, last_seen, world.now(), world.hz())
    {
        return Decision::by_flow(state.verdict);
    }
    let frame = case.frame;
    let decision = world.lend_for_flow(|lent: &mut Lent<F>| {
        lent.found.key = key;
        lent.packet = case.packet.opaque(frame);
        let case = &Case {
            packet: &lent.packet,
            segment: Segment(frame.opaque(case.segment.0)),
            ..*case
        };
        match look_up(world, case, &mut lent.found) {
            MAY_OPEN => open(world, case, &mut lent.found),
            decision => decision,
        }
    });
    decision.unwrap_or(Decision::of(Reason::Malformed))
}

/// What a judgement lends to functions of their own.
#[derive(Clone, Copy, Default)]
struct Lent<F: Family> {
    found: Found<F::Key>,
    packet: IpPacket<F>,
}
