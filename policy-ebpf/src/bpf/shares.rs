//! What endpoints hold of the flow tables, under their locks, and their rings of recent flows.
//!
//! Owns the lock and the memory of the rings; what is counted, and which slot is whose, the library
//! says. Invariant: between lock and unlock stand no calls and no jumps out.
//!
//! The `extern` functions are global ones of the object: the verifier follows each once and knows nothing
//! of its callers, where it would follow others once for every way that leads to them. So nothing but numbers
//! goes in and comes back.

use core::arch::asm;

use aya_ebpf::helpers::generated::{bpf_spin_lock, bpf_spin_unlock};
use policy_common::{Chunk, Credit, EndpointId, FlowCounts, FlowState, Recent};
use policy_ebpf::{
    flows::{
        blocks::{self, Blocks, NOWHERE},
        limits,
        shares::{self, Bounds, Charge},
    },
    lookup::Shares,
};

use super::{globals::config, maps, world::Kernel};

impl Shares for Kernel {
    #[inline(always)]
    fn charge(&self, endpoint: EndpointId, opener: u8) -> Charge {
        match spend(endpoint, opener) {
            shares::NOTHING => Charge(charge_flow(endpoint.0.into(), opener.into())),
            slot => Charge(slot.into()),
        }
    }

    #[inline(always)]
    fn charge_seldom(&self, endpoint: EndpointId, opener: u8) -> Charge {
        Charge(charge_flow(endpoint.0.into(), opener.into()))
    }

    fn release(&self, endpoint: EndpointId, opener: u8) {
        release_flow(endpoint.0.into(), opener.into());
    }

    fn gives_way(&self, endpoint: EndpointId, asks: u8, place: u32, peer_hash: u32) -> u32 {
        gives_way(
            endpoint.0.into(),
            asks.into(),
            place.into(),
            peer_hash.into(),
        ) as u32
    }

    fn oldest_place(&self, endpoint: EndpointId, opener: u8) -> u32 {
        oldest_place(endpoint.0.into(), opener.into()) as u32
    }

    fn make_room(&self, endpoint: EndpointId, opener: u8, peer_hash: u32) -> u32 {
        make_room(endpoint.0.into(), opener.into(), peer_hash.into()) as u32
    }

    fn with_recent<R>(&self, place: u32, then: impl FnOnce(&Recent) -> R) -> Option<R> {
        let recent = maps::RECENT.get_ptr(place)?;
        // SAFETY: array slots stay where they are. What two processors mix names no flow.
        Some(then(unsafe { &*recent }))
    }

    #[inline(always)]
    fn put_recent(&self, place: u32, write: impl FnOnce(&mut Recent)) {
        if let Some(recent) = maps::RECENT.get_ptr_mut(place) {
            // SAFETY: array slots stay where they are; a place is one processor's until the ring comes
            // round, and what two mix names no flow.
            write(unsafe { &mut *recent });
        }
    }
}

impl Blocks for Kernel {
    #[inline(always)]
    fn count(&self) -> u32 {
        config!(blocks)
    }

    #[inline(always)]
    fn owner(&self, block: u32) -> Chunk {
        let Some(block) = maps::RECENT_BLOCKS.get_ptr(block) else {
            return NO_BLOCK;
        };
        // SAFETY: array slots stay where they are; a word is read at once.
        unsafe { (&raw const (*block).chunk).read_volatile() }
    }

    #[inline(always)]
    fn claim(&self, block: u32, chunk: Chunk) -> bool {
        let Some(block) = maps::RECENT_BLOCKS.get_ptr_mut(block) else {
            return false;
        };
        // SAFETY: as for [`locked`].
        unsafe {
            bpf_spin_lock((&raw mut (*block).lock).cast());
            let owner = (&raw const (*block).chunk).read_volatile();
            let is_nobodys = owner.0 == Chunk::NONE.0;
            (&raw mut (*block).chunk).write_volatile(Chunk(if is_nobodys {
                chunk.0
            } else {
                owner.0
            }));
            bpf_spin_unlock((&raw mut (*block).lock).cast());
            is_nobodys
        }
    }
}

/// The owner of a block that is not there: no chunk has this name.
const NO_BLOCK: Chunk = Chunk(u64::MAX);

/// The place of a flow out of what this processor was lent, or [`shares::NOTHING`].
#[inline(always)]
fn spend(endpoint: EndpointId, opener: u8) -> u32 {
    let (Some(counts), Some(credit)) = (counts(endpoint), credit(endpoint, opener)) else {
        return shares::NOTHING;
    };
    // SAFETY: array slots stay where they are, and the loan belongs to this processor until the program
    // ends. Era and lap are read at once each: if one changes now, the flow came just before.
    unsafe {
        let era = (&raw const (*counts).era).read_volatile();
        let laps = if opener == FlowState::OPENED_BY_POD {
            (&raw const (*counts).pod.laps).read_volatile()
        } else {
            (&raw const (*counts).peer.laps).read_volatile()
        };
        shares::spend(&mut *credit, era, laps)
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn charge_flow(endpoint: u64, opener: u64) -> u64 {
    let (endpoint, opener) = (EndpointId(endpoint as u16), opener as u8);
    let (Some(counts), Some(credit), Some(shared)) = (
        counts(endpoint),
        credit(endpoint, opener),
        maps::FLOW_SHARED.get_ptr_mut(0),
    ) else {
        return Charge::SHARE.0;
    };
    // SAFETY: array slots stay where they are; a word is read at once.
    let taken = unsafe { shared.read_volatile() };
    let bounds = Bounds {
        limit: limit(opener),
        own: config!(own_flows),
        free: shares::free(config!(shared_flows), taken as u32),
        grant: config!(flow_grant),
    };
    let (charge, granted) = locked(counts, |counts| {
        // SAFETY: the loan belongs to this processor until the program ends.
        let credit = unsafe { &mut *credit };
        shares::settle(counts, opener, credit);
        let (charge, granted) = shares::charge(counts, opener, &bounds);
        if charge.is_taken() {
            shares::lend(counts, opener, &bounds, credit);
        }
        (charge, granted)
    });
    grant(shared, granted);
    if !charge.is_taken() {
        return charge.0;
    }
    let slot = charge.place();
    let place = blocks::place_or_claim(&Kernel, endpoint, opener, slot);
    if place == NOWHERE {
        // What was lent has no memory either, and is void as of an earlier lap.
        locked(counts, |counts| {
            shares::cut(shares::side(counts, opener), slot);
        });
        return place.into();
    }
    // SAFETY: as above. What was lent is of the same chunk.
    unsafe { (*credit).next = place + 1 };
    place.into()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn release_flow(endpoint: u64, opener: u64) -> u64 {
    let (endpoint, opener) = (EndpointId(endpoint as u16), opener as u8);
    let (Some(counts), Some(shared)) = (counts(endpoint), maps::FLOW_SHARED.get_ptr_mut(0)) else {
        return 0;
    };
    let (own, unit) = (config!(own_flows), config!(flow_grant));
    let granted = locked(counts, |counts| shares::release(counts, opener, own, unit));
    grant(shared, granted);
    1
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn oldest_place(endpoint: u64, opener: u64) -> u64 {
    let (endpoint, opener) = (EndpointId(endpoint as u16), opener as u8);
    let slot = counts(endpoint).map_or(0, |counts| {
        locked(counts, |counts| {
            shares::oldest_slot(shares::side(counts, opener))
        })
    });
    blocks::place(&Kernel, endpoint, opener, slot).into()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn make_room(endpoint: u64, opener: u64, peer_hash: u64) -> u64 {
    let endpoint = EndpointId(endpoint as u16);
    limits::make_room(&Kernel, endpoint, opener as u8, peer_hash as u32).into()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn gives_way(endpoint: u64, asks: u64, place: u64, peer_hash: u64) -> u64 {
    let endpoint = EndpointId(endpoint as u16);
    limits::gives_way(
        &Kernel,
        endpoint,
        asks as u8,
        place as u32,
        peer_hash as u32,
    )
    .into()
}

#[inline(always)]
fn limit(opener: u8) -> u32 {
    if opener == FlowState::OPENED_BY_POD {
        config!(pod_opened_limit)
    } else {
        config!(peer_opened_limit)
    }
}

#[inline(always)]
fn counts(endpoint: EndpointId) -> Option<*mut FlowCounts> {
    maps::FLOW_COUNTS.get_ptr_mut(endpoint.0.into())
}

/// What this processor was lent of one side's flows.
#[inline(always)]
fn credit(endpoint: EndpointId, opener: u8) -> Option<*mut Credit> {
    maps::FLOW_CREDITS.get_ptr_mut(side(endpoint, opener))
}

/// The number of one side of an endpoint.
#[inline(always)]
fn side(endpoint: EndpointId, opener: u8) -> u32 {
    u32::from(endpoint.0) * 2 + u32::from(opener & 1)
}

/// Runs a few instructions under the endpoint's lock: no call may stand among them.
#[inline(always)]
fn locked<R>(counts: *mut FlowCounts, then: impl FnOnce(&mut FlowCounts) -> R) -> R {
    // SAFETY: an array slot stays where it is; the lock is its own, and while it is held this is the only
    // reference.
    unsafe {
        bpf_spin_lock((&raw mut (*counts).lock).cast());
        let result = then(&mut *counts);
        bpf_spin_unlock((&raw mut (*counts).lock).cast());
        result
    }
}

/// Changes how much of the shared part is granted.
#[inline(always)]
fn grant(shared: *mut u64, change: i32) {
    if change == 0 {
        return;
    }
    // SAFETY: an array slot stays where it is. The standard library has no atomic additions for this
    // target.
    unsafe {
        asm!(
            "lock *(u64 *)({shared} + 0) += {change}",
            shared = in(reg) shared,
            change = in(reg) i64::from(change),
        );
    }
}
