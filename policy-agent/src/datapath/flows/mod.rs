//! The flow tables from the agent's side.

mod adopt;
mod sweep;

pub use adopt::OpenFlow;
pub use sweep::{SweepError, Sweeper, Swept};
