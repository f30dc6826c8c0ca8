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
use policy_common::{ChunkKey, EndpointId, FlowCounts, FlowState, Recent, shares::CHUNK_SLOTS};
use policy_ebpf::{
    flows::{
        limits,
        shares::{self, Bounds, Charge},
    },
    lookup::Shares,
};

use super::{globals::config, known::copy, maps, world::Kernel};

impl Shares for Kernel {
    fn charge(&self, endpoint: EndpointId, opener: u8) -> Charge {
        Charge(charge_flow(endpoint.0.into(), opener.into()))
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

    fn put_recent(&self, endpoint: EndpointId, opener: u8, slot: u32, recent: &Recent) -> bool {
        let mut place = element(endpoint, opener, slot);
        if place.is_none()
            && let Some(empty) = maps::EMPTY_CHUNK.get(0)
        {
            let _ = maps::RECENT_CHUNKS.insert(
                chunk_key(endpoint, opener, slot),
                empty,
                BPF_NOEXIST.into(),
            );
            place = element(endpoint, opener, slot);
        }
        let Some(place) = place else {
            return false;
        };
        // SAFETY: elements stay writable while the program runs; a slot is one processor's until the
        // ring comes round, and what two mix names no flow.
        unsafe { copy(bytemuck::cast_ref::<_, [u64; 6]>(recent), place.cast()) };
        true
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn charge_flow(endpoint: u64, opener: u64) -> u64 {
    let (endpoint, opener) = (EndpointId(endpoint as u16), opener as u8);
    let (Some(counts), Some(shared)) = (counts(endpoint), maps::FLOW_SHARED.get_ptr_mut(0)) else {
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
    let (charge, granted) = locked(counts, |counts| shares::charge(counts, opener, &bounds));
    grant(shared, granted);
    charge.0
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
    let limit = limit(opener);
    let slot = counts(endpoint).map_or(0, |counts| {
        locked(counts, |counts| {
            shares::next_slot(shares::side(counts, opener), limit)
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

/// The memory of a ring's slot, where there is some.
#[inline(always)]
fn element(endpoint: EndpointId, opener: u8, slot: u32) -> Option<*mut Recent> {
    if slot < CHUNK_SLOTS {
        let side = u32::from(endpoint.0) * 2 + u32::from(opener & 1);
        return maps::RECENT.get_ptr_mut(side * CHUNK_SLOTS + slot);
    }
    let chunk = maps::RECENT_CHUNKS.get_ptr_mut(chunk_key(endpoint, opener, slot))?;
    // SAFETY: within the chunk.
    Some(unsafe { chunk.cast::<Recent>().add((slot % CHUNK_SLOTS) as usize) })
}
