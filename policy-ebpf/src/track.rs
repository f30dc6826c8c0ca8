//! New entries of the flow table, and the limits that keep one pod from filling it.
//!
//! Invariant: only an unanswered or closed flow of the same endpoint, opened by the same side, ever
//! gives way to a new one.

use policy_common::{EndpointId, Reason, Recent, limits::RECENT_FLOWS};

use crate::{
    family::Family,
    flow::is_spare,
    judge::Found,
    lookup::{Full, Tables},
};

/// Remembered flows that one packet asks whether they give way.
const LOOKS: u32 = 4;

/// Makes the entry of a flow without a look at the table, as most new flows allow: whether there was none
/// before, and room.
#[inline(always)]
pub(crate) fn add<F: Family, W: Tables<F>>(
    world: &W,
    endpoint: EndpointId,
    found: &Found<F::Key>,
) -> bool {
    let opener = found.flow.state.opener;
    let limit = u64::from(world.flow_limit(opener));
    let count = world.flow_count(endpoint, opener);
    if count >= limit || !world.add_flow(&found.key, &found.flow) {
        return false;
    }
    count_in::<F, W>(world, endpoint, found, count);
    true
}

/// Writes the entry of a new flow and counts it.
#[inline(always)]
pub(crate) fn track<F: Family, W: Tables<F>>(
    world: &W,
    endpoint: EndpointId,
    found: &Found<F::Key>,
) -> Result<(), Reason> {
    let opener = found.flow.state.opener;
    if found.status & Found::<F::Key>::PRESENT != 0 {
        let before = found.before.state.opener;
        world
            .insert_flow(&found.key, &found.flow)
            .map_err(|Full| Reason::FlowTableFull)?;
        if before != opener {
            world.count_flow(endpoint, before, false);
            world.count_flow(endpoint, opener, true);
        }
        return Ok(());
    }
    let limit = u64::from(world.flow_limit(opener));
    let count = world.flow_count(endpoint, opener);
    if count >= limit && !make_room::<F, W>(world, endpoint, opener) {
        return Err(Reason::FlowLimit);
    }
    world
        .insert_flow(&found.key, &found.flow)
        .map_err(|Full| Reason::FlowTableFull)?;
    count_in::<F, W>(world, endpoint, found, count);
    Ok(())
}

/// Counts one flow more than `count`.
#[inline(always)]
fn count_in<F: Family, W: Tables<F>>(
    world: &W,
    endpoint: EndpointId,
    found: &Found<F::Key>,
    count: u64,
) {
    let opener = found.flow.state.opener;
    world.count_flow(endpoint, opener, true);
    // Early enough to know a few when the limit is reached.
    if count >= u64::from(world.flow_limit(opener)) / 2 {
        remember::<F, W>(world, endpoint, opener, &found.key);
    }
}

/// An unanswered or closed flow of an endpoint at its limit gives way to a new one of the same side:
/// the oldest that is remembered. The new one takes its slot.
#[inline(never)]
fn make_room<F: Family, W: Tables<F>>(world: &W, endpoint: EndpointId, opener: u8) -> bool {
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
        if recent.family != 0 && world.give_way(&recent, opener) {
            world.set_cursor(endpoint, opener, slot);
            world.count_flow(endpoint, opener, false);
            return true;
        }
    }
    // These stay: the next attempt asks the ones after them.
    world.set_cursor(endpoint, opener, cursor.wrapping_add(LOOKS));
    false
}

/// Removes the flow if it is one of this family, unanswered or closed, and opened by this side.
#[inline(never)]
pub fn give_way<F: Family, W: Tables<F>>(world: &W, recent: &Recent, opener: u8) -> bool {
    F::recall(recent).is_some_and(|key| {
        let gives_way = world
            .flow(&key)
            .is_some_and(|flow| is_spare(&flow.state) && flow.state.opener == opener);
        gives_way && world.remove_flow(&key)
    })
}

/// Puts a flow into the list of those that may give way, in the place of the oldest.
#[inline(never)]
fn remember<F: Family, W: Tables<F>>(
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
