//! What this processor remembers: slots that it alone reads and writes.
//!
//! Owns how a slot is found and when its content is whole; until when it holds is the decisions' to
//! say. Invariant: a slot never answers for other words than those that it was filled with.

use policy_common::{Endpoint, V4, V6};
use policy_ebpf::question::Question;

use super::maps::{self, KnownEndpoint};

/// Attempts to copy an element that is being replaced.
const ATTEMPTS: u32 = 4;

/// Copies an element of ENDPOINTS into this processor's slot: whether it is there. The kernel may
/// reuse an element for another key while it is copied, and a look-up may miss one that is replaced
/// meanwhile: only what a second look-up finds again was the element of this key.
#[inline(never)]
pub(super) fn learn(known: *mut KnownEndpoint, ifindex: u32, version: u64) -> bool {
    for _ in 0..ATTEMPTS {
        let Some(one) = maps::ENDPOINTS.get_ptr(ifindex) else {
            continue;
        };
        // SAFETY: a map element stays readable while the program runs. The slot belongs to this
        // processor until the program ends.
        let difference = unsafe {
            (*known).version = 0;
            let copy = (&raw mut (*known).endpoint).cast::<u64>();
            for word in 0..size_of::<Endpoint>() / 8 {
                copy.add(word)
                    .write_volatile(one.cast::<u64>().add(word).read_volatile());
            }
            let Some(again) = maps::ENDPOINTS.get_ptr(ifindex) else {
                continue;
            };
            let mut difference = u64::from((*known).endpoint.ifindex ^ ifindex);
            for word in 0..size_of::<Endpoint>() / 8 {
                difference |=
                    copy.add(word).read_volatile() ^ again.cast::<u64>().add(word).read_volatile();
            }
            difference
        };
        if difference == 0 {
            // SAFETY: as above.
            unsafe { (*known).version = version };
            return true;
        }
    }
    false
}

/// The slot for what these words name. A product's high bits depend on all bits of its factors, its low
/// bits do not: the halves meet before the last one.
#[inline(always)]
pub(super) fn slot<const WORDS: usize>(key: &[u64; WORDS]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut mixed = 0;
    for word in key {
        mixed = (mixed ^ word).wrapping_mul(FACTOR);
    }
    mixed = (mixed ^ mixed >> 32).wrapping_mul(FACTOR);
    (mixed >> (u64::BITS - maps::SLOTS.ilog2())) as u32 % maps::SLOTS
}

/// As an assignment, which becomes a call.
///
/// # Safety
///
/// The memory must be writable.
#[inline(always)]
pub(super) unsafe fn copy<const WORDS: usize>(from: &[u64; WORDS], to: *mut [u64; WORDS]) {
    for (index, word) in from.iter().enumerate() {
        // SAFETY: within the array, which is writable by the caller's promise.
        unsafe { to.cast::<u64>().add(index).write_volatile(*word) };
    }
}

/// As `==`, which becomes a call.
#[inline(always)]
pub(super) fn is_same<const WORDS: usize>(one: &[u64; WORDS], other: &[u64; WORDS]) -> bool {
    let mut difference = 0;
    for (one, other) in one.iter().zip(other) {
        difference |= one ^ other;
    }
    difference == 0
}

/// Everything of a question but the peer.
#[inline(always)]
fn asked<F>(question: &Question<F>) -> u64 {
    let port = match question.port {
        Some(port) => u64::from(port) | 1 << 16,
        None => 0,
    };
    u64::from(question.endpoint.0)
        | u64::from(question.protocol) << 16
        | (question.direction as u64) << 24
        | port << 32
}

#[inline(always)]
pub(super) fn words_v4(question: &Question<V4>) -> [u64; 2] {
    [asked(question), u32::from_ne_bytes(question.peer.0).into()]
}

#[inline(always)]
pub(super) fn words_v6(question: &Question<V6>) -> [u64; 3] {
    let [first, second] = bytemuck::cast(question.peer.0);
    [asked(question), first, second]
}
