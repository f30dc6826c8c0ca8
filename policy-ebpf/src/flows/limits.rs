//! The limits that keep one pod from filling the flow tables: what gives way to a new flow.
//!
//! Invariant: only a flow of the same endpoint, opened by the same side, ever gives way, and among those
//! no established connection and no tombstone that lives.

use policy_common::{EndpointId, Flow, FlowState, Recent, V4, V6};

use super::life::{has_handshake, idle, is_expired};
use crate::{
    family::Family,
    lookup::{Shares, Tables, World},
};

/// Recent flows that one packet asks whether they give way, the oldest first; the next packet asks those
/// behind them. The verifier follows every look on its own: six make loading take four times as long as
/// one.
const LOOKS: u32 = 2;

/// Seconds for which another peer's handshake is spared where something else gives way.
const PATIENCE: u64 = 3;

/// No slot.
const NONE: u32 = u32::MAX;

/// Whether a flow gives way to a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It stays.
    Never,
    /// If nothing else does.
    Reluctantly,
    /// At once.
    Now,
}

/// Whether a flow gives way to a new one of the same side. `is_same_peer`: with the same peer.
#[inline(always)]
pub const fn way(flow: &Flow, protocol: u8, is_same_peer: bool, now: u64, hz: u32) -> Way {
    if is_expired(flow, protocol, now, hz) {
        return Way::Now;
    }
    if !flow.state.verdict.allows() {
        return Way::Never;
    }
    match flow.state.phase {
        FlowState::PHASE_CLOSING | FlowState::PHASE_DOUBTFUL => Way::Now,
        FlowState::PHASE_NEW | FlowState::PHASE_ANSWERED => {
            if !has_handshake(protocol) || is_same_peer || idle(flow, now) > PATIENCE * hz as u64 {
                Way::Now
            } else {
                Way::Reluctantly
            }
        }
        _ if has_handshake(protocol) => Way::Never,
        // A question with its answer is over; what goes on for longer begins anew with the opener's
        // next packet.
        _ if flow.state.seen & FlowState::SEEN_LATER == 0 => Way::Now,
        _ => Way::Reluctantly,
    }
}

/// Removes a flow that gives way to the new one: its slot of the ring, or nothing.
#[inline(always)]
pub fn make_room<W: World>(world: &W, endpoint: EndpointId, opener: u8, peer_hash: u32) -> u32 {
    let mut spare = NONE;
    for _ in 0..LOOKS {
        let slot = world.next_slot(endpoint, opener);
        match gives_way(world, endpoint, opener, slot, peer_hash) {
            REMOVED => return slot,
            EMPTY => world.cut_ring(endpoint, opener, slot),
            RELUCTANT if spare == NONE => spare = slot,
            _ => {}
        }
    }
    if spare != NONE && gives_way(world, endpoint, opener | LAST, spare, peer_hash) == REMOVED {
        return spare;
    }
    NONE
}

/// Whether [`make_room`] found a slot.
#[inline(always)]
pub(super) const fn is_slot(slot: u32) -> bool {
    slot != NONE
}

const STAYS: u32 = 0;
const RELUCTANT: u32 = 1;
const REMOVED: u32 = 2;
const EMPTY: u32 = 3;

/// Beside an opener: also a flow that gives way reluctantly goes.
const LAST: u8 = 4;
/// Beside an opener: the new flow has the same peer.
const SAME_PEER: u8 = 2;

/// An endpoint's flows of both families share one limit: the ring holds both.
#[inline(never)]
fn gives_way<W: World>(
    world: &W,
    endpoint: EndpointId,
    asks: u8,
    slot: u32,
    peer_hash: u32,
) -> u32 {
    world
        .with_recent(endpoint, asks & 1, slot, |recent| {
            if recent.family == 0 {
                return EMPTY;
            }
            if recent.key.endpoint != endpoint {
                return STAYS;
            }
            let is_same_peer = recent.peer_hash == peer_hash;
            let asks = asks | if is_same_peer { SAME_PEER } else { 0 };
            if recent.family == V4::VERSION.into() {
                give_way::<V4, W>(world, recent, asks)
            } else {
                give_way::<V6, W>(world, recent, asks)
            }
        })
        .unwrap_or(EMPTY)
}

#[inline(never)]
fn give_way<F: Family, W: Tables<F>>(world: &W, recent: &Recent, asks: u8) -> u32 {
    let Some(key) = F::recall(recent) else {
        return STAYS;
    };
    let Some(flow) = world.flow(&key) else {
        return STAYS;
    };
    if flow.state.opener != asks & 1 {
        return STAYS;
    }
    let is_same_peer = asks & SAME_PEER != 0;
    let way = way(
        &flow,
        recent.key.protocol,
        is_same_peer,
        world.now(),
        world.hz(),
    );
    let goes = match way {
        Way::Never => false,
        Way::Reluctantly => asks & LAST != 0,
        Way::Now => true,
    };
    if goes && world.remove_flow(&key) {
        REMOVED
    } else if matches!(way, Way::Reluctantly) {
        RELUCTANT
    } else {
        STAYS
    }
}

/// Puts a flow into its side's ring, in the place of the oldest.
#[inline(never)]
pub(super) fn remember<W: Shares>(
    world: &W,
    endpoint: EndpointId,
    opener: u8,
    slot: u32,
    new: &Recent,
) -> bool {
    if !world.put_recent(endpoint, opener, slot, new) {
        world.cut_ring(endpoint, opener, slot);
    }
    true
}
