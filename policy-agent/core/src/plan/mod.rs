//! Ordered changes of the kernel's tables.

pub mod contents;
pub mod delta;
pub mod fit;
pub mod memory;
pub mod op;

pub use crate::model::Peer;
pub use contents::Contents;
pub use delta::{AddressValue, AddressWrite, Delta, EndpointWrite};
pub use fit::{DENY, Fit, Room, Short, Table, fit};
pub use memory::MemoryTables;
pub use op::{DirectionEntry, EndpointEntry, Op, PortRange, PortSetEntry};
