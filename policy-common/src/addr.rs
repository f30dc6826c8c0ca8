//! IP addresses as they stand in packets and map keys.

use bytemuck::{Pod, Zeroable};

/// An IPv4 address in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct V4(pub [u8; 4]);

/// An IPv6 address in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct V6(pub [u8; 16]);
