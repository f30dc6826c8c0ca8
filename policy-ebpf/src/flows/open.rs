//! A packet that opens a connection, and the entry that it gets in the flow table.

use policy_common::{Direction, EndpointId, Flow, FlowState, IdentityId, Reason};

use super::{
    blocks::NOWHERE,
    life::is_expired,
    limits::{remember, remember_apart},
    shares::Charge,
};
use crate::{
    case::Case,
    decision::Decision,
    family::Family,
    lookup::{Flows, Tables, World},
    packet::{Bytes, transport::Kind},
    question::Answer,
    rules::is_isolated,
    steps::Steps,
};

/// What a packet that opens a flow found under its key in the flow table. Only integers: the memory
/// is lent.
#[derive(Clone, Copy, Default)]
pub(crate) struct Found<K> {
    pub(crate) key: K,
    /// The entry, where there is one.
    pub(crate) before: Flow,
    /// What the packet would make of it.
    pub(crate) flow: Flow,
    /// [`Self::PRESENT`], [`Self::LIVE`].
    pub(crate) status: u64,
}

impl<K> Found<K> {
    /// There is an entry.
    pub(crate) const PRESENT: u64 = 1;
    /// There is an entry, and its life is not over.
    pub(crate) const LIVE: u64 = 2;

    /// Whether the packet makes another entry of the one that is there.
    #[inline(always)]
    pub(crate) fn is_changed(&self) -> bool {
        let (before, flow) = (&self.before, &self.flow);
        before.state != flow.state
            || before.last_seen != flow.last_seen
            || before.pod_next != flow.pod_next
            || before.peer_next != flow.peer_next
    }
}

/// A packet that opens a connection, and may.
#[inline(never)]
pub(crate) fn open<F: Family, W: Tables<F> + World, B: Steps + ?Sized>(
    world: &W,
    case: &Case<'_, F, B>,
    found: &mut Found<F::Key>,
) -> Decision {
    let identity = IdentityId(found.flow.identity);
    let passes = Decision::by_rules(
        if is_isolated(case.endpoint, case.direction) {
            Reason::Allowed
        } else {
            Reason::NotIsolated
        },
        Answer::new(found.flow.state.verdict, identity),
    );
    if identity == IdentityId::SELF {
        return passes;
    }
    let opener = found.flow.state.opener;
    // Most new flows are the first with their key: no look at the table before.
    let charge = world.charge(case.endpoint.id, opener);
    let charge = Charge(case.frame.opaque(charge.0));
    if charge.is_taken() {
        if Flows::<F>::add_flow(world, &found.key, &found.flow) {
            remember::<F, W>(world, charge.place(), &found.key);
            return passes;
        }
        world.release(case.endpoint.id, opener);
    }
    found.status = 0;
    if let Some(before) = Flows::<F>::flow(world, &found.key) {
        found.before = before;
        let is_over = is_expired(
            &before,
            case.segment.protocol(),
            found.flow.last_seen,
            world.hz(),
        );
        let live = case.frame.opaque(u64::from(!is_over)) * Found::<F::Key>::LIVE;
        found.status = Found::<F::Key>::PRESENT | live;
    }
    let live = found.before.state;
    let replaceable = live.phase == FlowState::PHASE_CLOSING || !live.verdict.allows();
    if found.status & Found::<F::Key>::LIVE != 0 && !replaceable {
        // A SYN on a connection that lives is a retransmission, or a peer that forgot it. It never
        // changes who opened the connection.
        if live.opener == found.flow.state.opener {
            found.flow.state.phase = live.phase;
            found.flow.state.seen = live.seen;
            found.flow.pod_next = found.before.pod_next;
            found.flow.peer_next = found.before.peer_next;
            keep::<F, W>(world, found);
        } else if live.epoch == case.endpoint.epoch {
            // Both sides open at once: the other's SYN is its answer. It does not make an older
            // verdict current.
            found.flow = found.before;
            case.step(&mut found.flow, false);
            if found.is_changed() {
                keep::<F, W>(world, found);
            }
        }
        return passes;
    }
    match track::<F, W>(world, case.endpoint.id, found, charge) {
        Ok(()) => passes,
        // Without an entry the answers could not come back.
        Err(reason) if needs_entry(case) => Decision::about(reason, identity),
        Err(_) => passes,
    }
}

/// Writes what the packet makes of an entry that is there.
#[inline(always)]
fn keep<F: Family, W: Tables<F>>(world: &W, found: &Found<F::Key>) {
    world.update_flow(&found.key, &found.flow);
    world.know_flow(&found.key, &found.flow);
}

/// Whether a packet that may open a flow is in vain without one: the other direction is isolated. A
/// packet in an open direction may be an answer itself, where every packet may open a flow.
#[inline(always)]
fn needs_entry<F: Family, B: Bytes + ?Sized>(case: &Case<'_, F, B>) -> bool {
    is_isolated(case.endpoint, reverse(case.direction))
        && (is_isolated(case.endpoint, case.direction)
            || matches!(case.segment.kind(), Kind::Tcp | Kind::Sctp | Kind::Icmp))
}

#[inline(always)]
const fn reverse(direction: Direction) -> Direction {
    match direction {
        Direction::Ingress => Direction::Egress,
        Direction::Egress => Direction::Ingress,
    }
}

/// Writes the entry of a new flow in the place of an older one: the one with its key, or one that gives
/// way. `refused`: why it could not be counted.
#[inline(always)]
fn track<F: Family, W: Tables<F> + World>(
    world: &W,
    endpoint: EndpointId,
    found: &Found<F::Key>,
    refused: Charge,
) -> Result<(), Reason> {
    let opener = found.flow.state.opener;
    let is_present = found.status & Found::<F::Key>::PRESENT != 0;
    let mut place = NOWHERE;
    if !is_present {
        // The new flow is counted in the place of the one that gives way.
        place = world.make_room(endpoint, opener, F::peer_hash(&found.key));
        if place == NOWHERE {
            return Err(reason(refused));
        }
    } else if found.before.state.opener != opener {
        // The other side's flow becomes this side's.
        let charge = world.charge_seldom(endpoint, opener);
        if !charge.is_taken() {
            return Err(reason(charge));
        }
        world.release(endpoint, found.before.state.opener);
        place = charge.place();
    }
    if Flows::<F>::replace_flow(world, &found.key, &found.flow).is_err() {
        if !is_present {
            world.release(endpoint, opener);
        }
        return Err(Reason::FlowTableFull);
    }
    if place != NOWHERE {
        remember_apart::<F, W>(world, place, &found.key);
    }
    Ok(())
}

#[inline(always)]
const fn reason(refused: Charge) -> Reason {
    match refused {
        Charge::LIMIT => Reason::FlowLimit,
        _ => Reason::FlowTableFull,
    }
}
