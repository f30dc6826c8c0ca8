//! Ordered changes of the kernel's tables.

pub mod contents;
pub mod delta;
pub mod encode;
pub mod fit;
pub mod op;
mod said;
pub mod writer;

pub use crate::model::Peer;
pub use contents::Contents;
pub use delta::{AddressValue, AddressWrite, Delta, EndpointWrite};
pub use fit::{DENY, Fit, Haste, Room, Short, Table, fit};
pub use op::{DirectionEntry, EndpointEntry, Op, PortRange, PortSetEntry};
pub use writer::{Writer, write};
