//! Reading a frame's headers: the short way, else the long one. Both say [`Segment::NONE`] where there is no
//! transport header.

use crate::{
    packet::{IpPacket, ParseError, Segment, Wire},
    steps::Steps,
};

/// Reads the headers of a frame's packet, and with the shortest way its transport header too.
///
/// # Errors
/// The headers cannot be followed.
#[inline(always)]
pub fn read<F: Wire, B: Steps + ?Sized>(frame: &B) -> Result<(IpPacket<F>, Segment), ParseError> {
    let (packet, segment) = read_known(frame)?;
    Ok((packet.opaque(frame), Segment(frame.opaque(segment.0))))
}

/// The same, while the verifier knows what the shortest way read: few branches come behind.
///
/// # Errors
/// The headers cannot be followed.
#[inline(always)]
pub fn read_known<F: Wire, B: Steps + ?Sized>(
    frame: &B,
) -> Result<(IpPacket<F>, Segment), ParseError> {
    if let Some(read) = F::plain(frame) {
        return Ok(read);
    }
    frame.follow()
}
