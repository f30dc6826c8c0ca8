//! Reading a frame's headers into lent memory: the short way, else the long one.

use crate::{
    lookup::Memory,
    packet::{Bytes, IpPacket, ParseError, Segment, Wire},
};

/// Reads the headers of a frame's packet, and with the shortest way its transport header too.
///
/// # Errors
/// The headers cannot be followed.
#[inline(always)]
pub fn read<F: Wire, W: Memory, B: Bytes + ?Sized>(
    world: &W,
    frame: &B,
) -> Result<(IpPacket<F>, Segment), ParseError> {
    if let Some((packet, segment)) = F::plain(frame) {
        return Ok((packet, segment));
    }
    let read = world.lend(|packet| follow(frame, packet).map(|()| *packet));
    Ok((read.ok_or(ParseError::Malformed)??, Segment::NONE))
}

/// Not inlined: the kernel gives all frames of a program 512 bytes of stack.
#[inline(never)]
fn follow<F: Wire, B: Bytes + ?Sized>(
    frame: &B,
    packet: &mut IpPacket<F>,
) -> Result<(), ParseError> {
    *packet = F::parse(frame, B::LINK_HEADER)?;
    Ok(())
}
