//! What ADDRESSES says of one exact address.

use bytemuck::{Pod, Zeroable};

use crate::{endpoint::EndpointId, identity::IdentityId};

/// Value of ADDRESSES_V4 and ADDRESSES_V6: what is known of one exact address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct AddressEntry {
    /// The predicates that hold for the address.
    pub identity: IdentityId,
    /// The local endpoint that owns the address, [`EndpointId::NONE`] for every other.
    pub owner: EndpointId,
    /// `HOST`, `NODE`, `SERVICE`.
    pub flags: u16,
}

impl AddressEntry {
    /// The address belongs to an interface of this host.
    pub const HOST: u16 = 1;
    /// The address belongs to another node. Reserved: what tunnels must not reach stands in LOCALS.
    pub const NODE: u16 = 2;
    /// The address is a Service's. Reserved: Services' addresses stand in SERVICES.
    pub const SERVICE: u16 = 4;

    /// Whether the address belongs to this host or to another node.
    #[inline(always)]
    pub const fn is_node(&self) -> bool {
        self.flags & (Self::HOST | Self::NODE) != 0
    }

    /// Whether the address belongs to an interface of this host.
    #[inline(always)]
    pub const fn is_host(&self) -> bool {
        self.flags & Self::HOST != 0
    }
}
