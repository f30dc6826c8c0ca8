//! Tracked connections: what a packet finds of its flow, what it makes of it, and who may have how
//! many.
//!
//! Knows how a packet is judged only through `crate::answer`. Invariants: verdict and epoch are one
//! word and change together; an entry never changes who opened it while it lives; only entries of the
//! same endpoint give way to a new one.

pub mod blocks;
pub mod carry;
pub mod life;
pub mod limits;
pub(crate) mod look_up;
pub(crate) mod open;
pub mod phase;
pub mod shares;
