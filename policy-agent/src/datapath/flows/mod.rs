//! The flow tables from the agent's side.

mod adopt;
mod list;
mod sweep;

pub use adopt::OpenFlow;
pub use list::{FlowEntry, flows};
pub use sweep::{SweepError, Sweeper, Swept};
