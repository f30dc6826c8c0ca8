//! Random packets at random endpoints: for the fuzz target, its bounded run in the tests, and the
//! comparison of the decision core with the loaded programs. And random files of manifests.
//!
//! Owns how bytes of a fuzzer become packets. Invariant: the same bytes give the same packets.

mod frame;
mod harness;
mod manifests;
mod scene;
mod shot;

pub use self::{
    harness::run,
    manifests::manifests,
    scene::Scene,
    shot::{Ends, Hook, Place, Pool, Shot, decide},
};
