//! ARP for IPv4 over Ethernet (RFC 826).

use policy_common::V4;

use super::{Bytes, padding};

/// Bytes of a packet.
const LENGTH: usize = 28;

/// The sender's protocol address; nothing for ARP of other kinds.
#[inline(always)]
pub fn sender<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Option<V4> {
    // Hardware type 1, protocol type 0x0800, address lengths 6 and 4.
    if frame.bytes::<6>(offset)? != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    Some(V4(frame.bytes::<4>(offset + 14)?))
}

/// Whether the packet fills its frame, but for the padding of a short one.
#[inline(never)]
pub fn is_alone<B: Bytes + ?Sized>(frame: &B, offset: usize) -> bool {
    padding::is_blank(frame, offset + LENGTH)
}

/// Whether the packet is a question or an answer and says nothing of hardware addresses that the
/// frame's header does not say.
#[inline(never)]
pub fn is_plain<B: Bytes + ?Sized>(frame: &B, offset: usize) -> bool {
    // One after the other: old verifiers let nobody read the empty half of an `Option` from the stack.
    let Some(to) = frame.bytes::<6>(0) else {
        return false;
    };
    let Some(from) = frame.bytes::<6>(6) else {
        return false;
    };
    let Some(operation) = frame.bytes::<2>(offset + 6) else {
        return false;
    };
    let Some(sender) = frame.bytes::<6>(offset + 8) else {
        return false;
    };
    let Some(target) = frame.bytes::<6>(offset + 18) else {
        return false;
    };
    let (to, from, sender, target) = (word(to), word(from), word(sender), word(target));
    // A question leaves the target's empty, or full; announcements repeat the sender's.
    matches!(operation, [0, 1 | 2])
        && sender == from
        && (target == 0 || target == BROADCAST || target == to || target == from)
}

const BROADCAST: u64 = 0xffff_ffff_ffff;

#[inline(always)]
const fn word([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}
