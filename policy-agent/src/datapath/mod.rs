//! The kernel's side of the agent: programs, maps, pins.
//!
//! A *generation* is programs with their maps. It is [`Loaded`] beside whatever is already enforced,
//! [`Filled`] with what is wanted, and then the [`Datapath`] in force, whose pins stand in the place of those
//! of the generation before and whose programs an [`Attacher`] puts on interfaces. Each step takes the one
//! before it, so that another order cannot be written; only who has locked the pin directory ([`Pins`]) pins
//! or attaches anything. This part knows the operations of `policy-core` and the layouts of `policy-common`;
//! it must not know where facts come from. Invariant: a step that fails leaves what was enforced before.
//!
//! ```no_run
//! use policy_agent::datapath::{Loaded, LoadOptions, NodeFacts};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let filled = Loaded::load(&LoadOptions::embedded()?)?.fill(&NodeFacts::default(), &[])?;
//! assert!(filled.refused().is_empty());
//! let mut datapath = filled.enforce()?;
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
mod probe;

pub use events::{DebugLines, EventReader};
pub use flows::{FlowEntry, ForbiddenFlow, OpenFlow, SweepError, Sweeper, Swept, flows};
pub use generation::{
    Carry, Counters, Datapath, EMBEDDED, Failure, Filled, Generation, HostSockets, LoadError,
    LoadOptions, Loaded, MapFill, NodeFacts, Programs, TableSizes, TableWriter, fill,
};
pub use hooks::{
    AttachError, AttachMode, Attacher, ChainError, HeldLinks, Hook, Mechanism, Place, chain,
    has_tcx, interface_name,
};
pub use kernel::{
    grace::grace_waits,
    hz::HzError,
    part::PartError,
    table::TableError,
    test_run::{TestOrigin, TestOutcome},
};
pub use others::{OtherAgents, OtherPins, OtherProgram, OthersError, other_agents};
pub(crate) use pins::MemoryMap;
pub use pins::{
    About, DEFAULT_PIN_PATH, DEFAULT_RUN_DIR, Lifetime, MOST_FIRST, Memory, PinDir, PinDirError,
    Pins, is_bpffs,
};
pub use probe::{At, BothWays, Came, Echo, Probe, ProbeError, Probed, Seen, Transport};
