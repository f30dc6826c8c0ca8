//! What the programs tell: events of single packets, debug lines.

mod debug;
mod ring;

pub use debug::DebugLines;
pub use ring::EventReader;
