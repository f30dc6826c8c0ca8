//! How many entries of the flow tables an endpoint may hold, and its rings of recent flows.
//!
//! Pure: the programs call it under the endpoint's lock, but for [`spend`]. Invariants: the two sides of an
//! endpoint never take from each other's limit; what an endpoint holds beyond its own share was granted
//! out of the shared part, so that the own shares of all others stay free; no count goes below zero. What
//! is lent to a processor counts as held, and no more is lent than was granted, so that an endpoint which
//! is refused has its own share in flows.

#[cfg(not(target_arch = "bpf"))]
use policy_common::Config;
use policy_common::{
    Credit, FlowCounts, FlowState, Side,
    shares::{CHUNK_SLOTS, FIRST_SLOTS},
};

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

/// What came of the wish for one flow more, in one word – bits 0: where the flow goes, 32: why it is not
/// counted.
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

    /// Where the flow goes: of [`charge`], the slot of its side's ring; of [`Shares`](crate::lookup::Shares),
    /// its place in RECENT.
    #[inline(always)]
    pub const fn place(self) -> u32 {
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
    let is_free = counts.granted >= grant.saturating_add(counts.lent);
    // Not at once: an endpoint that opens and closes one flow would go to the shared part each time.
    if is_free && total.saturating_add(grant.saturating_mul(2)) <= may_hold {
        counts.granted -= grant;
        return -(grant as i32);
    }
    0
}

/// Most flows that a processor is lent at once.
pub const LOAN: u32 = 31;

/// After a [`charge`], as many more at once as would change nothing but the counts and the cursor: few
/// where the side comes near its limit, none of the endpoint's own share, and none of another chunk.
#[inline(always)]
pub const fn lend(counts: &mut FlowCounts, opener: u8, bounds: &Bounds, credit: &mut Credit) {
    let total = counts.pod.live.wrapping_add(counts.peer.live);
    let may_hold = bounds.own.saturating_add(counts.granted);
    let (granted, lent, era) = (counts.granted, counts.lent, counts.era);
    let side = side(counts, opener);
    let mut loan = LOAN;
    loan = smaller(loan, may_hold.saturating_sub(total));
    loan = smaller(loan, granted.saturating_sub(lent));
    loan = smaller(loan, (bounds.limit / 16).saturating_sub(lent));
    loan = smaller(loan, bounds.limit.saturating_sub(side.live));
    loan = smaller(loan, ahead(side, bounds.limit));
    loan = smaller(loan, beside(side.cursor.wrapping_sub(1)));
    *credit = Credit {
        next: side.cursor,
        left: loan as u16,
        lent: loan as u16,
        era,
        laps: side.laps,
    };
    side.live = side.live.wrapping_add(loan);
    side.cursor = side.cursor.wrapping_add(loan);
    if side.cursor > side.slots {
        side.slots = side.cursor;
    }
    counts.lent = lent.wrapping_add(loan);
}

/// How many slots come behind this one in its part of the ring.
#[inline(always)]
const fn beside(slot: u32) -> u32 {
    if slot < FIRST_SLOTS {
        FIRST_SLOTS - 1 - slot
    } else {
        CHUNK_SLOTS - 1 - (slot - FIRST_SLOTS) % CHUNK_SLOTS
    }
}

/// How many slots the ring has from the cursor on, with those by which it would grow if each were taken
/// by a flow more.
#[inline(always)]
const fn ahead(side: &Side, limit: u32) -> u32 {
    let end = if side.cursor < side.slots {
        side.slots
    } else if side.live >= side.slots {
        limit
    } else {
        wanted(side, limit)
    };
    end.saturating_sub(side.cursor)
}

/// Takes back what is left of a loan, before the processor's next [`charge`].
#[inline(always)]
pub const fn settle(counts: &mut FlowCounts, opener: u8, credit: &mut Credit) {
    let Credit {
        left, lent, era, ..
    } = *credit;
    credit.left = 0;
    credit.lent = 0;
    if era != counts.era {
        return;
    }
    counts.lent = counts.lent.saturating_sub(lent as u32);
    let side = side(counts, opener);
    side.live = side.live.saturating_sub(left as u32);
}

/// The slot of one flow more out of what the processor was lent, under the era and the lap of this
/// moment; needs no lock. [`NOTHING`]: there is nothing left that counts.
#[inline(always)]
pub const fn spend(credit: &mut Credit, era: u32, laps: u32) -> u32 {
    if credit.left == 0 || credit.era != era || credit.laps != laps {
        return NOTHING;
    }
    let slot = credit.next;
    credit.left -= 1;
    credit.next = slot.wrapping_add(1);
    slot
}

/// No slot.
pub const NOTHING: u32 = u32::MAX;

#[inline(always)]
const fn smaller(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}

/// The slot for the next flow: the one of the oldest. The ring grows while it has fewer slots than are
/// wanted, and becomes shorter when it has many more: the flows are those that were put there last.
#[inline(always)]
pub const fn next_slot(side: &mut Side, limit: u32) -> u32 {
    let enough = side
        .live
        .saturating_add(side.live / 4)
        .saturating_add(CHUNK_SLOTS);
    if side.cursor >= enough && side.cursor < side.slots {
        side.slots = side.cursor;
    }
    if side.cursor >= side.slots {
        if side.slots < wanted(side, limit) {
            side.slots = side.cursor.wrapping_add(1);
        } else {
            side.cursor = 0;
            side.laps = side.laps.wrapping_add(1);
        }
    }
    let slot = side.cursor;
    side.cursor = slot.wrapping_add(1);
    slot
}

/// How many slots the ring should have: an eighth may be of flows that are over, or of none.
#[inline(always)]
const fn wanted(side: &Side, limit: u32) -> u32 {
    let slots = side.live.saturating_add(side.live / 8);
    smaller(
        limit,
        if slots > FIRST_SLOTS {
            slots
        } else {
            FIRST_SLOTS
        },
    )
}

/// The slot of the oldest recent flow, for one that may take its place: the ring stays as long as it is.
#[inline(always)]
pub const fn oldest_slot(side: &mut Side) -> u32 {
    if side.cursor >= side.slots {
        side.cursor = 0;
        side.laps = side.laps.wrapping_add(1);
    }
    let slot = side.cursor;
    if side.slots != 0 {
        side.cursor = slot.wrapping_add(1);
    }
    slot
}

/// The ring ends before the chunk of this slot, which has no memory: the first slot is the oldest.
#[inline(always)]
pub const fn cut(side: &mut Side, slot: u32) {
    let slot = slot - slot.wrapping_sub(FIRST_SLOTS) % CHUNK_SLOTS;
    if side.slots > slot {
        side.slots = slot;
        side.cursor = 0;
        side.laps = side.laps.wrapping_add(1);
    }
}
