//! Programs on interfaces: putting them there, first in their chains, and who else stands there.
//!
//! Knows generations and pins; must not know policy. Invariant: an interface that has the programs
//! keeps them – links and filters are replaced in place, never taken off first.

mod attach;
mod bridge;
pub mod chain;
mod clsact;
mod error;
mod held;
mod hook;
mod observe;
mod position;
mod tcx;

pub use attach::{AttachMode, Attacher, Mechanism, has_tcx};
pub use chain::ChainError;
pub use error::AttachError;
pub use held::HeldLinks;
pub use hook::{Hook, interface_name};
pub use observe::Place;
