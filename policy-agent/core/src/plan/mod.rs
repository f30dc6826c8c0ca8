//! Ordered changes of the kernel's tables.

pub mod delta;
pub mod encode;
pub mod op;
pub mod rows;
pub mod writer;

pub use crate::model::Peer;
pub use delta::{AddressValue, AddressWrite, Delta, EndpointWrite};
pub use op::{DirectionEntry, EndpointEntry, Op, PortRange, PortSetEntry};
pub use rows::Rows;
pub use writer::{Writer, write};
