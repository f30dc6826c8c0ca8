//! Where the rings of recent flows have their slots in RECENT.
//!
//! The first slots of every ring have places of their own, so that nobody's first flows are without. Behind
//! them a ring is of chunks, and a chunk claims one of the blocks that all share when the ring first comes to
//! it; the agent takes back those behind the ends of rings. Pure: owns which block is whose, not what stands
//! in it. Invariant: a block that is somebody's becomes nobody else's before the agent took it back.

use policy_common::{
    Chunk, EndpointId,
    shares::{CHUNK_SLOTS, FIRST_SLOTS},
};

/// No place.
pub const NOWHERE: u32 = u32::MAX;

/// How many blocks a chunk may have: it looks at all of them, since one that is nobody's may stand before
/// its own.
const WINDOW: u32 = 16;

/// RECENT_BLOCKS.
pub trait Blocks {
    /// How many there are.
    fn count(&self) -> u32;
    /// Whose a block is; of one that is not there, somebody's.
    fn owner(&self, block: u32) -> Chunk;
    /// Makes a block this chunk's if it is nobody's: whether it was.
    fn claim(&self, block: u32, chunk: Chunk) -> bool;
}

/// The place of a slot of a ring, if it has one, else [`NOWHERE`].
#[inline(always)]
pub fn place<B: Blocks>(blocks: &B, endpoint: EndpointId, opener: u8, slot: u32) -> u32 {
    if slot < FIRST_SLOTS {
        return first(blocks, endpoint, opener) + slot;
    }
    let block = find(blocks, chunk(endpoint, opener, slot));
    in_block(block, slot)
}

/// The same; a chunk without a block gets one, where one of its window is nobody's.
#[inline(always)]
pub fn place_or_claim<B: Blocks>(blocks: &B, endpoint: EndpointId, opener: u8, slot: u32) -> u32 {
    if slot < FIRST_SLOTS {
        return first(blocks, endpoint, opener) + slot;
    }
    let chunk = chunk(endpoint, opener, slot);
    let mut block = find(blocks, chunk);
    if block == NOWHERE && claim(blocks, chunk) {
        // Not the claimed one: another processor may have claimed one too, and both look in one order.
        block = find(blocks, chunk);
    }
    in_block(block, slot)
}

#[inline(always)]
const fn chunk(endpoint: EndpointId, opener: u8, slot: u32) -> Chunk {
    Chunk::new(endpoint, opener, 1 + (slot - FIRST_SLOTS) / CHUNK_SLOTS)
}

/// How many chunks a ring with so many slots has.
pub const fn chunks(slots: u32) -> u32 {
    slots.saturating_sub(FIRST_SLOTS).div_ceil(CHUNK_SLOTS)
}

/// The first block of a chunk, or [`NOWHERE`].
#[inline(always)]
pub fn find<B: Blocks>(blocks: &B, chunk: Chunk) -> u32 {
    let first = window(chunk, blocks.count());
    for step in 0..WINDOW {
        if blocks.owner(first + step) == chunk {
            return first + step;
        }
    }
    NOWHERE
}

#[inline(always)]
fn claim<B: Blocks>(blocks: &B, chunk: Chunk) -> bool {
    let first = window(chunk, blocks.count());
    for step in 0..WINDOW {
        if blocks.owner(first + step) == Chunk::NONE && blocks.claim(first + step, chunk) {
            return true;
        }
    }
    false
}

/// The first place of a ring.
#[inline(always)]
fn first<B: Blocks>(blocks: &B, endpoint: EndpointId, opener: u8) -> u32 {
    let side = endpoint.0 as u32 * 2 + (opener as u32 & 1);
    blocks.count() * CHUNK_SLOTS + side * FIRST_SLOTS
}

#[inline(always)]
const fn in_block(block: u32, slot: u32) -> u32 {
    if block == NOWHERE {
        return NOWHERE;
    }
    block * CHUNK_SLOTS + (slot - FIRST_SLOTS) % CHUNK_SLOTS
}

/// The first block that a chunk may have: any behind which there are all others.
#[inline(always)]
const fn window(chunk: Chunk, count: u32) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    // High bits of a product depend on all bits of its factors, low bits do not.
    let mut mixed = chunk.0.wrapping_mul(FACTOR);
    mixed = (mixed ^ mixed >> 32).wrapping_mul(FACTOR);
    let choices = count.saturating_sub(WINDOW - 1) as u64;
    (((mixed >> 32) * choices) >> 32) as u32
}
