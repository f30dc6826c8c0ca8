//! Where a processor keeps what it remembers, and how it compares it.
//!
//! Owns which slot is whose; until when a content holds is the decisions' to say. Invariant: the slots of
//! two roles never meet, so that one run may hold an endpoint of each.

use policy_common::{Direction, V4, V6};

use crate::question::Question;

/// Slots for copies of flows, and for answers, of each family.
pub const SLOTS: u32 = 2_048;
/// Slots for copies of endpoints in each role; those of more endpoints take turns.
pub const ENDPOINT_SLOTS: u32 = 256;

/// What an endpoint is to the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The program runs at its interface, by whose index it is remembered.
    Here = 0,
    /// It sent the packet, and is remembered by its number.
    Source = 1,
}

impl Role {
    /// How many there are.
    pub const COUNT: u32 = 2;

    /// The slot of the endpoint with this interface or number.
    #[inline(always)]
    pub const fn place(self, name: u32) -> u32 {
        self as u32 * ENDPOINT_SLOTS + name % ENDPOINT_SLOTS
    }
}

/// The slot for what these words name. A product's high bits depend on all bits of its factors, its low
/// bits do not: the halves meet before the last one.
#[inline(always)]
pub fn slot<const WORDS: usize>(key: &[u64; WORDS]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut mixed = 0;
    for word in key {
        mixed = (mixed ^ word).wrapping_mul(FACTOR);
    }
    mixed = (mixed ^ mixed >> 32).wrapping_mul(FACTOR);
    (mixed >> (u64::BITS - SLOTS.ilog2())) as u32 % SLOTS
}

/// As `==`, which becomes a call in BPF programs.
#[inline(always)]
pub fn is_same<const WORDS: usize>(one: &[u64; WORDS], other: &[u64; WORDS]) -> bool {
    let mut difference = 0;
    for (one, other) in one.iter().zip(other) {
        difference |= one ^ other;
    }
    difference == 0
}

/// Everything of a question but the peer.
#[inline(always)]
fn asked<F>(question: &Question<F>) -> u64 {
    let direction = match question.direction {
        Direction::Ingress => 0,
        Direction::Egress => 1 << 24,
    };
    u64::from(question.endpoint.0)
        | u64::from(question.protocol) << 16
        | direction
        | question.port.word() << 32
}

/// A question as words: different for different questions.
#[inline(always)]
pub fn words_v4(question: &Question<V4>) -> [u64; 2] {
    [asked(question), u32::from_ne_bytes(question.peer.0).into()]
}

/// A question as words: different for different questions.
#[inline(always)]
pub fn words_v6(question: &Question<V6>) -> [u64; 3] {
    let [first, second] = bytemuck::cast(question.peer.0);
    [asked(question), first, second]
}
