//! Ethernet II headers (IEEE 802.3).

use super::Bytes;

/// Bytes of the header.
pub const HEADER_LEN: usize = 14;

/// EtherTypes.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// 802.1Q tag.
    pub const VLAN: u16 = 0x8100;
    /// 802.1ad tag.
    pub const SERVICE_VLAN: u16 = 0x88a8;
}

/// The EtherType of a frame, host byte order.
#[inline(always)]
pub fn ethertype<B: Bytes + ?Sized>(frame: &B) -> Option<u16> {
    if B::LINK_HEADER == 0 {
        return frame.network_protocol();
    }
    frame.linear(12).map(u16::from_be_bytes)
}

/// Whether the frame is for more than one host: the destination is a multicast or broadcast address.
#[inline(always)]
pub fn is_to_group<B: Bytes + ?Sized>(frame: &B) -> bool {
    B::LINK_HEADER != 0 && matches!(frame.linear(0), Some([first, _]) if first & 1 != 0)
}

/// Whether the frame's source is this address.
#[inline(always)]
pub fn is_from<B: Bytes + ?Sized>(frame: &B, [a, b, c, d, e, f]: [u8; 6]) -> bool {
    let wanted = u64::from_be_bytes([a, b, c, d, e, f, 0, 0]) >> 16;
    B::LINK_HEADER == 0
        || frame
            .linear::<8>(6)
            .is_some_and(|bytes| u64::from_be_bytes(bytes) >> 16 == wanted)
}
