//! A generation: programs with their maps, from loading to the writes of every plan.
//!
//! Knows operations of `policy-core` and layouts of `policy-common`; must not know interfaces.
//! Invariant: a write that fails leaves what was enforced before.

mod calls;
mod carry;
mod counters;
mod datapath;
mod failure;
mod fill;
mod lined;
mod load;
mod loaded;
mod locals;
mod object;
mod programs;
mod sizes;
mod tables;
mod verify;
mod writer;

pub(super) use calls::fill as fill_calls;
pub use carry::Carry;
pub use counters::Counters;
pub use datapath::{Datapath, Generation};
pub use failure::Failure;
pub use fill::{MapFill, fill};
pub(super) use load::hz;
pub use load::{HostSockets, LoadError, LoadOptions};
pub use loaded::{Filled, Loaded, NodeFacts};
pub use object::EMBEDDED;
pub use programs::Programs;
pub use sizes::TableSizes;
pub use writer::TableWriter;
