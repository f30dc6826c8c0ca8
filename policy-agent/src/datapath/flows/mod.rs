//! The flow tables from the agent's side.

mod adopt;
mod forbid;
mod list;
mod sweep;

pub use adopt::OpenFlow;
pub use forbid::ForbiddenFlow;
pub use list::{FlowEntry, flows};
pub use sweep::{SweepError, Sweeper, Swept};
