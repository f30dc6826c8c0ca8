//! The limits that keep one pod from filling the flow tables.
//!
//! Invariant: only an unanswered or closed flow of the same endpoint, opened by the same side, ever
//! gives way to a new one.

use policy_common::{EndpointId, Recent, V4, V6, limits::RECENT_FLOWS};

use super::life::is_spare;
use crate::{
    family::Family,
    lookup::{Shares, Tables, World},
};

/// Remembered flows that one packet asks whether they give way.
const LOOKS: u32 = 4;

/// An unanswered or closed flow of an endpoint at its limit gives way to a new one of the same side:
/// the oldest that is remembered. The new one takes its slot.
#[inline(never)]
pub(super) fn make_room<W: World>(world: &W, endpoint: EndpointId, opener: u8) -> bool {
    let mut cursor = world.cursor(endpoint, opener);
    // Slots are empty only until all were used once: then the first is the oldest.
    if world
        .recent(endpoint, opener, cursor)
        .is_none_or(|recent| recent.family == 0)
    {
        cursor &= !(RECENT_FLOWS - 1);
    }
    for age in 0..LOOKS {
        let slot = cursor.wrapping_add(age);
        let Some(recent) = world.recent(endpoint, opener, slot) else {
            return false;
        };
        if recent.family != 0 && gives_way(world, &recent, opener) {
            world.set_cursor(endpoint, opener, slot);
            world.charge(endpoint, opener, false);
            return true;
        }
    }
    // These stay: the next attempt asks the ones after them.
    world.set_cursor(endpoint, opener, cursor.wrapping_add(LOOKS));
    false
}

/// An endpoint's flows of both families share one limit: the list holds both.
#[inline(always)]
fn gives_way<W: World>(world: &W, recent: &Recent, opener: u8) -> bool {
    give_way::<V4, W>(world, recent, opener) || give_way::<V6, W>(world, recent, opener)
}

/// Removes the flow if it is one of this family, unanswered or closed, and opened by this side.
#[inline(never)]
fn give_way<F: Family, W: Tables<F>>(world: &W, recent: &Recent, opener: u8) -> bool {
    F::recall(recent).is_some_and(|key| {
        let gives_way = world
            .flow(&key)
            .is_some_and(|flow| is_spare(&flow.state) && flow.state.opener == opener);
        gives_way && world.remove_flow(&key)
    })
}

/// Puts a flow into the list of those that may give way, in the place of the oldest.
#[inline(never)]
pub(super) fn remember<F: Family, W: Shares>(
    world: &W,
    endpoint: EndpointId,
    opener: u8,
    key: &F::Key,
) -> bool {
    let slot = world.cursor(endpoint, opener);
    world.put_recent(endpoint, opener, slot, |recent| F::remember(key, recent));
    world.set_cursor(endpoint, opener, slot.wrapping_add(1));
    true
}
