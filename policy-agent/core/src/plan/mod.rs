//! Ordered changes of the kernel's tables.

pub mod op;

pub use op::{DirectionEntry, EndpointEntry, Op, PortRange, PortSetEntry};
