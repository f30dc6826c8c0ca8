//! IPv4 options (RFC 791, 3.1), as far as they change where a packet goes.

use super::{Bytes, ParseError};

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
/// Loose and strict source route.
const SOURCE_ROUTES: [u8; 2] = [131, 137];

/// Bytes of the longest list of options.
const MOST: usize = 40;

/// Walks the options between two offsets, the header's end being the second one.
///
/// # Errors
/// [`ParseError::RoutingHeader`] for a source route with addresses left: whoever has the destination
/// address sends the packet on. [`ParseError::Malformed`] for what hosts refuse too.
#[inline(always)]
pub(super) fn follow<B: Bytes + ?Sized>(
    frame: &B,
    mut at: usize,
    end: usize,
) -> Result<(), ParseError> {
    for _ in 0..MOST {
        if at >= end {
            return Ok(());
        }
        let kind = byte(frame, at)?;
        let length = match kind {
            END => return Ok(()),
            NO_OPERATION => 1,
            _ => {
                let length = usize::from(byte(frame, at + 1)?);
                if length < 2 || at + length > end {
                    return Err(ParseError::Malformed);
                }
                if kind == SOURCE_ROUTES[0] || kind == SOURCE_ROUTES[1] {
                    let pointer = byte(frame, at + 2)?;
                    // Counted from 1, from the option's first byte.
                    if length < 3 || pointer < 4 {
                        return Err(ParseError::Malformed);
                    }
                    if usize::from(pointer) <= length {
                        return Err(ParseError::RoutingHeader);
                    }
                }
                length
            }
        };
        at = frame.opaque((at + length) as u64) as usize & 0xffff;
    }
    Ok(())
}

#[inline(always)]
fn byte<B: Bytes + ?Sized>(frame: &B, at: usize) -> Result<u8, ParseError> {
    match frame.byte(at) {
        byte if byte == B::NO_BYTE => Err(ParseError::Malformed),
        byte => Ok(byte as u8),
    }
}
