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

mod abi;
mod apply;
mod attach;
mod backlog;
mod carry;
mod clsact;
mod counters;
mod debug;
mod encode;
mod events;
mod fill;
mod generation;
mod grace;
mod hz;
mod ids;
mod load;
mod lock;
mod object;
mod pins;
mod position;
mod sweep;
mod sys;
mod tables;
mod tcx;
mod test_run;

pub use apply::Failure;
pub use attach::{AttachError, AttachMode, Attacher, Hook, Mechanism, has_tcx, interface_name};
pub use fill::{MapFill, fill};
pub use generation::Datapath;
pub use hz::HzError;
pub use ids::EndpointIds;
pub use load::{LoadError, LoadOptions, TableSizes};
pub use lock::PinLock;
pub use object::EMBEDDED;
pub use pins::{DEFAULT_PIN_PATH, PinDir, PinDirError, is_bpffs};
pub use sweep::{SweepError, Swept};
pub use test_run::{TestOrigin, TestOutcome};
