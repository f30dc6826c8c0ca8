//! How many entries of the flow tables an endpoint may hold, and its rings of recent flows.
//!
//! Pure: the programs call it under the endpoint's lock. Invariants: the two sides of an endpoint
//! never take from each other's limit; what an endpoint holds beyond its own share was granted out of
//! the shared part, so that the own shares of all others stay free; no count goes below zero.

#[cfg(not(target_arch = "bpf"))]
use policy_common::Config;
use policy_common::{FlowCounts, FlowState, Side, shares::CHUNK_SLOTS};

/// What an endpoint may hold, from the configuration and from what is shared.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most flows of one side.
    pub limit: u32,
    /// Flows that are the endpoint's own.
    pub own: u32,
    /// Flows of the shared part that nobody has.
    pub free: u32,
    /// How many are granted at once.
    pub grant: u32,
}

/// How many shared flows are free when `taken` are granted. A count that was put right while it moved may
/// be below zero.
#[inline(always)]
pub const fn free(shared: u32, taken: u32) -> u32 {
    if taken as i32 > 0 {
        shared.saturating_sub(taken)
    } else {
        shared
    }
}

impl Bounds {
    /// The bounds of this side when `taken` of the shared flows are granted.
    #[cfg(not(target_arch = "bpf"))]
    pub const fn new(config: &Config, opener: u8, taken: u32) -> Self {
        Self {
            limit: if opener == FlowState::OPENED_BY_POD {
                config.pod_opened_limit
            } else {
                config.peer_opened_limit
            },
            own: config.own_flows,
            free: free(config.shared_flows, taken),
            grant: config.flow_grant,
        }
    }
}

/// What came of the wish for one flow more, in one word – bits 0: where the flow goes in its side's ring,
/// 32: why it is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Charge(pub u64);

impl Charge {
    /// The side is at its limit.
    pub const LIMIT: Self = Self(1 << 32);
    /// The endpoint has used up its own share, and there is none left to grant.
    pub const SHARE: Self = Self(2 << 32);

    /// Whether the flow is counted.
    #[inline(always)]
    pub const fn is_taken(self) -> bool {
        self.0 >> 32 == 0
    }

    /// Where the flow goes in its side's ring.
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.0 as u32
    }
}

/// The side of an endpoint that opens flows.
#[inline(always)]
pub const fn side(counts: &mut FlowCounts, opener: u8) -> &mut Side {
    if opener == FlowState::OPENED_BY_POD {
        &mut counts.pod
    } else {
        &mut counts.peer
    }
}

/// Counts one flow more, if the bounds allow it; and by how much the granted part grows.
#[inline(always)]
pub const fn charge(counts: &mut FlowCounts, opener: u8, bounds: &Bounds) -> (Charge, i32) {
    let total = counts.pod.live.wrapping_add(counts.peer.live);
    let may_hold = bounds.own.saturating_add(counts.granted);
    let is_full = total >= may_hold;
    if side(counts, opener).live >= bounds.limit {
        return (Charge::LIMIT, 0);
    }
    if is_full && bounds.free < bounds.grant {
        return (Charge::SHARE, 0);
    }
    let granted = if is_full { bounds.grant } else { 0 };
    counts.granted = counts.granted.wrapping_add(granted);
    let side = side(counts, opener);
    side.live += 1;
    (Charge(next_slot(side, bounds.limit) as u64), granted as i32)
}

/// Counts one flow less: by how much the granted part shrinks.
#[inline(always)]
pub const fn release(counts: &mut FlowCounts, opener: u8, own: u32, grant: u32) -> i32 {
    let side = side(counts, opener);
    side.live = side.live.saturating_sub(1);
    let total = counts.pod.live.wrapping_add(counts.peer.live);
    let may_hold = own.saturating_add(counts.granted);
    // Not at once: an endpoint that opens and closes one flow would go to the shared part each time.
    if counts.granted >= grant && total.saturating_add(grant.saturating_mul(2)) <= may_hold {
        counts.granted -= grant;
        return -(grant as i32);
    }
    0
}

/// The slot for the next flow: the one of the oldest. The ring grows while it has fewer slots than there
/// are flows, and becomes shorter when it has many more: the flows are those that were put there last.
#[inline(always)]
pub const fn next_slot(side: &mut Side, limit: u32) -> u32 {
    let slot = side.cursor;
    let mut next = slot.wrapping_add(1);
    let enough = side
        .live
        .saturating_add(side.live / 4)
        .saturating_add(CHUNK_SLOTS);
    if next >= side.slots && side.live >= side.slots && side.slots < limit {
        let longer = side.slots.saturating_add(CHUNK_SLOTS);
        side.slots = if longer < limit { longer } else { limit };
    }
    if next >= enough && enough < side.slots {
        side.slots = next;
    }
    if next >= side.slots {
        next = 0;
    }
    side.cursor = next;
    slot
}

/// The ring ends before this slot, which is empty or has no memory: the first one is the oldest.
#[inline(always)]
pub const fn cut(side: &mut Side, slot: u32) {
    if side.slots > slot {
        side.slots = slot;
        side.cursor = 0;
    }
}
