//! The flow tables from the agent's side.

mod sweep;

pub use sweep::{SweepError, Sweeper, Swept};
