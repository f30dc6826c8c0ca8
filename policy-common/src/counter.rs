//! What METRICS counts.

use bytemuck::{Pod, Zeroable};

/// Value of METRICS.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Counter {
    /// Packets (a GSO super-packet is one).
    pub packets: u64,
    /// Bytes from the link header on.
    pub bytes: u64,
}
