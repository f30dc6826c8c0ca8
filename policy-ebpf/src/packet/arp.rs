//! ARP for IPv4 over Ethernet (RFC 826).

use policy_common::V4;

use super::Bytes;

/// The sender's protocol address; nothing for ARP of other kinds.
#[inline(always)]
pub fn sender<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Option<V4> {
    // Hardware type 1, protocol type 0x0800, address lengths 6 and 4.
    if frame.bytes::<6>(offset)? != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    Some(V4(frame.bytes::<4>(offset + 14)?))
}
