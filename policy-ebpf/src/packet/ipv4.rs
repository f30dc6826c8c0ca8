//! IPv4 headers (RFC 791).

use policy_common::V4;

use super::{Bytes, Fragment, Headers, IpPacket, ParseError, options};

/// Bytes of a header without options.
pub(super) const SHORTEST: usize = 20;

const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// Reads the header at `offset` of a frame and finds the transport header behind its options.
#[inline(always)]
pub fn parse<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Result<IpPacket<V4>, ParseError> {
    let header: [u8; SHORTEST] = frame.bytes(offset).ok_or(ParseError::Malformed)?;
    let header_len = header_len(header[0])?;
    let mut total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if total == 0 && frame.is_segmented() {
        total = frame.length() - offset;
    }
    if total < header_len || offset + total > frame.length() {
        return Err(ParseError::Malformed);
    }
    options::follow(frame, offset + SHORTEST, offset + header_len)?;
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let id = [0, 0, header[4], header[5]];
    let headers = Headers {
        fragmentable: offset + header_len,
        transport: offset + header_len,
        end: offset + total,
        fragment: match fragment & OFFSET_MASK {
            0 if fragment & MORE_FRAGMENTS == 0 => Fragment::WHOLE,
            0 => Fragment::first(id),
            units => Fragment::later(id, units << 3),
        },
        has_fragment_header: fragment & (OFFSET_MASK | MORE_FRAGMENTS) != 0,
        hop_limit: header[8],
        protocol: header[9],
    };
    let source = V4([header[12], header[13], header[14], header[15]]);
    let destination = V4([header[16], header[17], header[18], header[19]]);
    Ok(IpPacket::new(source, destination, &headers).opaque(frame))
}

/// Bytes of a header that begins with `first`.
#[inline(always)]
pub(super) fn header_len(first: u8) -> Result<usize, ParseError> {
    let words = usize::from(first & 0xf);
    if first >> 4 != 4 || words < 5 {
        return Err(ParseError::Malformed);
    }
    Ok(words * 4)
}
