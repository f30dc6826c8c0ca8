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

/// What the header says.
#[derive(Clone, Copy, Debug)]
pub struct Ethernet {
    /// EtherType, host byte order.
    pub ethertype: u16,
    /// The destination is a multicast or broadcast address.
    pub to_group: bool,
}

/// Reads the header of a frame.
#[inline(always)]
pub fn parse<B: Bytes + ?Sized>(frame: &B) -> Option<Ethernet> {
    let [first, .., high, low]: [u8; HEADER_LEN] = frame.linear(0)?;
    Some(Ethernet {
        ethertype: u16::from_be_bytes([high, low]),
        to_group: first & 1 != 0,
    })
}
