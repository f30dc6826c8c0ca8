//! IPv6 headers and extension headers (RFC 8200, RFC 4302).

use policy_common::{V6, limits::MAX_EXTENSION_HEADERS};

use super::{Bytes, Fragment, Headers, IpPacket, ParseError};

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 40;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// Reads the header at `offset` of a frame and walks to the transport header.
#[inline(always)]
pub fn parse<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Result<IpPacket<V6>, ParseError> {
    let [first] = frame.bytes::<1>(offset).ok_or(ParseError::Malformed)?;
    let [high, low, next, hop_limit] = frame.bytes(offset + 4).ok_or(ParseError::Malformed)?;
    let payload = usize::from(u16::from_be_bytes([high, low]));
    let mut end = offset + HEADER_LEN + payload;
    if payload == 0 && frame.is_segmented() {
        end = frame.length();
    }
    if first >> 4 != 6 || end > frame.length() {
        return Err(ParseError::Malformed);
    }
    let mut headers = walk(frame, offset + HEADER_LEN, end, next)?;
    headers.hop_limit = hop_limit;
    // Last, so that they do not lie on the stack meanwhile.
    let source = frame.bytes(offset + 8).ok_or(ParseError::Malformed)?;
    let destination = frame.bytes(offset + 24).ok_or(ParseError::Malformed)?;
    Ok(IpPacket::new(V6(source), V6(destination), &headers).opaque(frame))
}

/// Follows extension headers from `cursor`, of type `protocol`, not beyond `end`.
#[inline(always)]
pub(super) fn walk<B: Bytes + ?Sized>(
    frame: &B,
    cursor: usize,
    end: usize,
    protocol: u8,
) -> Result<Headers, ParseError> {
    let mut walk = Headers {
        fragmentable: cursor,
        transport: cursor,
        end,
        hop_limit: 0,
        fragment: Fragment::WHOLE,
        has_fragment_header: false,
        protocol,
    };
    for _ in 0..=MAX_EXTENSION_HEADERS {
        let length = match walk.protocol {
            HOP_BY_HOP | DESTINATION_OPTIONS | ROUTING | FRAGMENT | AUTHENTICATION => {
                let [next, length, kind_or_high, left_or_low] =
                    frame.bytes(walk.transport).ok_or(ParseError::Malformed)?;
                let this = walk.protocol;
                walk.protocol = next;
                match this {
                    ROUTING if left_or_low != 0 => return Err(ParseError::RoutingHeader),
                    FRAGMENT => {
                        // A second one could say anything about the first: no host sends it.
                        if walk.has_fragment_header {
                            return Err(ParseError::Malformed);
                        }
                        walk.has_fragment_header = true;
                        walk.fragmentable = walk.transport + 8;
                        let id = frame
                            .bytes(walk.transport + 4)
                            .ok_or(ParseError::Malformed)?;
                        let field = u16::from_be_bytes([kind_or_high, left_or_low]);
                        walk.fragment = match (field & !7, field & 1) {
                            (0, 0) => Fragment::WHOLE,
                            (0, _) => Fragment::first(id),
                            (offset, _) => Fragment::later(id, offset),
                        };
                        8
                    }
                    AUTHENTICATION => (usize::from(length) + 2) * 4,
                    _ => (usize::from(length) + 1) * 8,
                }
            }
            _ => return Ok(walk),
        };
        walk.transport = frame.opaque((walk.transport + length) as u64) as usize & 0xffff;
        if walk.transport > end {
            return Err(ParseError::Malformed);
        }
        if walk.fragment.is_later() {
            return Ok(walk);
        }
    }
    Err(ParseError::ExtensionHeaders)
}
