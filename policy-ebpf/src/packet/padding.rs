//! What lies behind a packet in its frame: nothing, or the zeros that make a short frame long enough.

use super::Bytes;

/// Bytes of the shortest Ethernet frame, without its check sequence.
const SHORTEST: usize = 60;

/// Whether nothing stands behind `end`, which is at least 24, but the padding of a short frame.
#[inline(always)]
pub fn is_blank<B: Bytes + ?Sized>(frame: &B, end: usize) -> bool {
    let length = frame.length();
    if length == end {
        return true;
    }
    if length < end || length > SHORTEST {
        return false;
    }
    let padding = length - end;
    // The last bytes of the frame, eight at a time: the shortest packet here leaves 18.
    let mut seen = 0;
    for word in 0..3 {
        if padding > word * 8 {
            let Some(bytes) = frame.bytes(length - (word + 1) * 8) else {
                return false;
            };
            let rest = padding - word * 8;
            let bytes = u64::from_be_bytes(bytes);
            seen |= if rest < 8 {
                bytes & ((1 << (rest * 8)) - 1)
            } else {
                bytes
            };
        }
    }
    padding <= 24 && seen == 0
}
