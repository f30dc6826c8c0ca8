//! The conversation with the kernel over netlink: sockets that ask or listen, messages as bytes.
//!
//! Must not know what is asked. Invariant: a socket belongs to the network namespace of the thread
//! that opened it, for good.

pub(crate) mod conntrack;
mod error;
pub(crate) mod message;
pub(crate) mod socket;

pub use error::NetlinkError;
