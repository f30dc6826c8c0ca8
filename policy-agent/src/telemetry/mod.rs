//! What the agent tells people while it runs.

pub mod drops;
mod logging;
pub mod observed;
pub mod tables;
mod writer;

pub use logging::{LogFormat, init};
pub use writer::{flush, last_lines, lost_lines, say};
