//! Questions about a set of manifests, answered before anything is applied: no root, no kernel.
//!
//! Owns how questions are written and how answers read; the answers are `policy-core`'s. Invariant: what
//! is refused has no effect here, as in the agent, and is said.

mod diff;
mod explain;
mod html;
mod line;
mod live;
mod matrix;
mod offline;
mod party;

pub use diff::Difference;
pub use explain::{Answer, Verdict};
pub use html::page;
pub use line::{DropQuestion, LineError};
pub(crate) use live::Place;
pub use live::{Compared, Way};
pub use matrix::Matrix;
pub use offline::Offline;
pub use party::{Packet, PartyArgument};
