//! What the agent tells people while it runs.

pub mod drops;
mod logging;

pub use logging::{LogFormat, init};
