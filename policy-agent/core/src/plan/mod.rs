//! Ordered changes of the kernel's tables.

pub mod delta;
pub mod memory;
pub mod op;

pub use crate::model::Peer;
pub use delta::{AddressValue, AddressWrite, Delta, EndpointWrite};
pub use memory::MemoryTables;
pub use op::{DirectionEntry, EndpointEntry, Op, PortRange, PortSetEntry};
