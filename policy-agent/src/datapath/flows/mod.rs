//! The flow tables from the agent's side.

mod sweep;

pub(crate) use sweep::Sweeper;
pub use sweep::{SweepError, Swept};
