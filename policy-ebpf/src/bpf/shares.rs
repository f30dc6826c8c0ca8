//! What endpoints hold of the flow tables, under their locks, and their rings of recent flows.
//!
//! Owns the lock and the memory of the rings; what is counted, and which slot is whose, the library
//! says. Invariant: between lock and unlock stand no calls and no jumps out.
//!
//! The `extern` functions are global ones of the object: the verifier follows each once and knows nothing
//! of its callers, where it would follow others once for every way that leads to them. So nothing but numbers
//! goes in and comes back.

use core::arch::asm;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::generated::{bpf_spin_lock, bpf_spin_unlock},
};
use policy_common::{
    ChunkKey, Credit, EndpointId, FlowCounts, FlowState, Recent, shares::CHUNK_SLOTS,
};
use policy_ebpf::{
    flows::{
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

    fn release(&self, endpoint: EndpointId, opener: u8) {
        release_flow(endpoint.0.into(), opener.into());
    }

    fn next_slot(&self, endpoint: EndpointId, opener: u8) -> u32 {
        next_slot(endpoint.0.into(), opener.into()) as u32
    }

    fn make_room(&self, endpoint: EndpointId, opener: u8, peer_hash: u32) -> u32 {
        make_room(endpoint.0.into(), opener.into(), peer_hash.into()) as u32
    }

    fn gives_way(&self, endpoint: EndpointId, asks: u8, slot: u32, peer_hash: u32) -> u32 {
        gives_way(
            endpoint.0.into(),
            asks.into(),
            slot.into(),
            peer_hash.into(),
        ) as u32
    }

    fn cut_ring(&self, endpoint: EndpointId, opener: u8, slot: u32) {
        if let Some(counts) = counts(endpoint) {
            locked(counts, |counts| {
                shares::cut(shares::side(counts, opener), slot);
            });
        }
    }

    fn with_recent<R>(
        &self,
        endpoint: EndpointId,
        opener: u8,
        slot: u32,
        then: impl FnOnce(&Recent) -> R,
    ) -> Option<R> {
        // SAFETY: elements stay readable while the program runs. What two processors mix names no flow.
        element(endpoint, opener, slot).map(|element| then(unsafe { &*element }))
    }

    #[inline(always)]
    fn put_recent(
        &self,
        endpoint: EndpointId,
        opener: u8,
        slot: u32,
        write: impl FnOnce(&mut Recent),
    ) -> bool {
        let mut place = element(endpoint, opener, slot);
        if place.is_none() {
            make_chunk(endpoint, opener, slot);
            place = element(endpoint, opener, slot);
        }
        let Some(place) = place else {
            return false;
        };
        // SAFETY: elements stay writable while the program runs; a slot is one processor's until the
        // ring comes round, and what two mix names no flow.
        write(unsafe { &mut *place });
        true
    }
}

/// The slot of a flow out of what this processor was lent, or [`shares::NOTHING`].
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
    if charge.is_taken() {
        fetch(endpoint, opener, charge.slot());
    }
    charge.0
}

/// Reads the slots from this one on that may have been lent, as far as they are of the same chunk: from far
/// memory they come sooner all at once than one with each flow. Nothing is made of what is read.
#[inline(always)]
fn fetch(endpoint: EndpointId, opener: u8, slot: u32) {
    if slot < CHUNK_SLOTS {
        return;
    }
    let Some(chunk) = maps::RECENT_CHUNKS.get_ptr(chunk_key(endpoint, opener, slot)) else {
        return;
    };
    for ahead in 0..shares::LOAN {
        let slot = (slot % CHUNK_SLOTS + ahead) & (CHUNK_SLOTS - 1);
        // SAFETY: within the chunk; elements stay readable while the program runs.
        unsafe { (&raw const (*chunk.cast::<Recent>().add(slot as usize)).family).read_volatile() };
    }
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
extern "C" fn next_slot(endpoint: u64, opener: u64) -> u64 {
    let (endpoint, opener) = (EndpointId(endpoint as u16), opener as u8);
    let slot = counts(endpoint).map_or(0, |counts| {
        locked(counts, |counts| {
            shares::oldest_slot(shares::side(counts, opener))
        })
    });
    slot.into()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn make_room(endpoint: u64, opener: u64, peer_hash: u64) -> u64 {
    let endpoint = EndpointId(endpoint as u16);
    limits::make_room(&Kernel, endpoint, opener as u8, peer_hash as u32).into()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn gives_way(endpoint: u64, asks: u64, slot: u64, peer_hash: u64) -> u64 {
    let endpoint = EndpointId(endpoint as u16);
    limits::gives_way(&Kernel, endpoint, asks as u8, slot as u32, peer_hash as u32).into()
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

#[inline(always)]
fn chunk_key(endpoint: EndpointId, opener: u8, slot: u32) -> ChunkKey {
    ChunkKey {
        endpoint,
        opener: opener.into(),
        chunk: slot / CHUNK_SLOTS,
    }
}

/// Gives the chunk of a ring memory, where there is some left.
#[inline(never)]
fn make_chunk(endpoint: EndpointId, opener: u8, slot: u32) -> bool {
    let key = chunk_key(endpoint, opener, slot);
    maps::EMPTY_CHUNK.get(0).is_some_and(|empty| {
        maps::RECENT_CHUNKS
            .insert(key, empty, BPF_NOEXIST.into())
            .is_ok()
    })
}

/// The memory of a ring's slot, where there is some.
#[inline(always)]
fn element(endpoint: EndpointId, opener: u8, slot: u32) -> Option<*mut Recent> {
    if slot < CHUNK_SLOTS {
        return maps::RECENT.get_ptr_mut(side(endpoint, opener) * CHUNK_SLOTS + slot);
    }
    let chunk = maps::RECENT_CHUNKS.get_ptr_mut(chunk_key(endpoint, opener, slot))?;
    // SAFETY: within the chunk.
    Some(unsafe { chunk.cast::<Recent>().add((slot % CHUNK_SLOTS) as usize) })
}
