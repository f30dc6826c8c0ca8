//! What the programs tell: events of single packets, debug lines.

mod debug;
mod ring;

pub(crate) use debug::DebugLines;
pub(crate) use ring::EventReader;
