//! The limits that keep one pod from filling the flow tables: what gives way to a new flow.
//!
//! Invariant: only a flow of the same endpoint, opened by the same side, ever gives way, and among those
//! no established connection and no tombstone that lives.

use policy_common::{EndpointId, Flow, FlowState, Recent, V4, V6};

use super::{
    blocks::NOWHERE,
    life::{has_handshake, idle, is_expired},
    shares::LOAN,
};
use crate::{
    family::Family,
    lookup::{Shares, Tables, World},
};

/// Recent flows that one packet asks whether they give way, the oldest first; the next packet asks those
/// behind them.
const LOOKS: u32 = 4;

/// Slots that one packet passes to find them: a processor may have been lent as many as it has not filled yet.
const STEPS: u32 = LOOKS + LOAN;

/// Seconds for which another peer's handshake is spared where something else gives way.
const PATIENCE: u64 = 3;

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

/// Removes a flow that gives way to the new one: its place in RECENT, or [`NOWHERE`].
#[inline(always)]
pub fn make_room<W: World>(world: &W, endpoint: EndpointId, opener: u8, peer_hash: u32) -> u32 {
    let (mut spare, mut looks) = (NOWHERE, 0);
    for _ in 0..STEPS {
        let place = world.oldest_place(endpoint, opener);
        match world.gives_way(endpoint, opener, place, peer_hash) {
            REMOVED => return place,
            NOBODY => continue,
            RELUCTANT if spare == NOWHERE => spare = place,
            _ => {}
        }
        looks += 1;
        if looks == LOOKS {
            break;
        }
    }
    if spare != NOWHERE && world.gives_way(endpoint, opener | LAST, spare, peer_hash) == REMOVED {
        return spare;
    }
    NOWHERE
}

const STAYS: u32 = 0;
const RELUCTANT: u32 = 1;
const REMOVED: u32 = 2;
/// There is no flow in the place, or no more.
const NOBODY: u32 = 3;

/// Beside an opener: also a flow that gives way reluctantly goes.
const LAST: u8 = 4;
/// Beside an opener: the new flow has the same peer.
const SAME_PEER: u8 = 2;

/// Whether the flow in a place gives way, and then removes it. An endpoint's flows of both families share one
/// limit: the ring holds both.
#[inline(always)]
pub fn gives_way<W: World>(
    world: &W,
    endpoint: EndpointId,
    asks: u8,
    place: u32,
    peer_hash: u32,
) -> u32 {
    world
        .with_recent(place, |recent| {
            // One whose flow is still to come was lent to a processor; until then another's may stand there.
            if recent.family == 0 || recent.key.endpoint != endpoint {
                return NOBODY;
            }
            let is_same_peer = recent.peer_hash == peer_hash;
            let asks = asks | if is_same_peer { SAME_PEER } else { 0 };
            if recent.family == V4::VERSION.into() {
                give_way::<V4, W>(world, recent, asks)
            } else {
                give_way::<V6, W>(world, recent, asks)
            }
        })
        .unwrap_or(NOBODY)
}

#[inline(never)]
fn give_way<F: Family, W: Tables<F>>(world: &W, recent: &Recent, asks: u8) -> u32 {
    let Some(key) = F::recall(recent) else {
        return NOBODY;
    };
    let Some(flow) = world.flow(&key) else {
        return NOBODY;
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
#[inline(always)]
pub(super) fn remember<F: Family, W: Shares>(world: &W, place: u32, key: &F::Key) {
    world.put_recent(place, |recent| F::remember(key, recent));
}

/// The same in a function of its own, for ways that fewer flows go.
#[inline(never)]
pub(super) fn remember_apart<F: Family, W: Shares>(world: &W, place: u32, key: &F::Key) -> bool {
    remember::<F, W>(world, place, key);
    true
}
