//! IP addresses as they stand in packets and map keys, and what ADDRESSES says of one.

use bytemuck::{Pod, Zeroable};

use crate::{endpoint::EndpointId, identity::IdentityId};

/// An IPv4 address in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct V4(pub [u8; 4]);

/// An IPv6 address in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct V6(pub [u8; 16]);

/// Value of ADDRESSES_V4 and ADDRESSES_V6: what is known of one exact address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct AddressEntry {
    /// The predicates that hold for the address.
    pub identity: IdentityId,
    /// The local endpoint that owns the address, [`EndpointId::NONE`] for every other.
    pub owner: EndpointId,
    /// [`AddressEntry::HOST`] or nothing.
    pub flags: u16,
}

impl AddressEntry {
    /// The address belongs to an interface of this host.
    pub const HOST: u16 = 1;

    /// Whether the address belongs to an interface of this host.
    #[inline(always)]
    pub const fn is_host(&self) -> bool {
        self.flags & Self::HOST != 0
    }
}
