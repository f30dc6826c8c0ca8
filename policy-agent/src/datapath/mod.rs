//! The kernel's side of the agent: programs, maps, pins.
//!
//! A [`Datapath`] is one *generation*: programs with their maps, loaded beside whatever is already
//! enforced. It executes the operations of a plan ([`Datapath::apply`]), replaces the pins of the
//! generation before it, and puts the programs on interfaces ([`Attacher`]). This part knows the
//! operations of `policy-core` and the layouts of `policy-common`; it must not know where facts
//! come from. Invariant: a step that fails leaves what was enforced before.
//!
//! ```no_run
//! use policy_agent::datapath::{Datapath, LoadOptions};
//!
//! # fn main() -> Result<(), policy_agent::datapath::LoadError> {
//! let mut datapath = Datapath::load(&LoadOptions::embedded()?)?;
//! let failures = datapath.apply(&[]);
//! assert!(failures.is_empty());
//! # Ok(())
//! # }
//! ```

mod events;
mod flows;
mod generation;
mod hooks;
mod kernel;
mod others;
mod pins;

pub use events::{DebugLines, EventReader};
pub use flows::{SweepError, Sweeper, Swept};
pub use generation::{
    CallsBefore, Carry, Counters, Datapath, EMBEDDED, Failure, HostSockets, LoadError, LoadOptions,
    MapFill, Programs, TableSizes, TableWriter, fill,
};
pub use hooks::{
    AttachError, AttachMode, Attacher, ChainError, HeldLinks, Hook, Mechanism, Place, chain,
    has_tcx, interface_name,
};
pub use kernel::{
    hz::HzError,
    part::PartError,
    test_run::{TestOrigin, TestOutcome},
};
pub use others::{OtherAgents, OtherPins, OtherProgram, OthersError, other_agents};
pub use pins::{DEFAULT_PIN_PATH, Lifetime, PinDir, PinDirError, PinLock, is_bpffs};
