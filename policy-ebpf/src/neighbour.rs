//! Who stands behind a link-local address. Nobody records those, so that it is told by where a packet
//! came from and not by what is written in it.
//!
//! Found out where a packet is first seen, and carried along: deeper, the kernel has no stack for it.

use policy_common::{Endpoint, IdentityId, V4, V6};

use crate::{
    lookup::{Addresses, Identities},
    origin::Whence,
};

/// The identity of whoever stands there, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Neighbour(u64);

impl Neighbour {
    /// No pod of this node: it is an address like another.
    pub const ELSEWHERE: Self = Self(u64::MAX);
    /// Perhaps a pod, and nobody can say which: it is in no block.
    pub const ANYBODY: Self = Self::of(IdentityId::WORLD);

    const fn of(identity: IdentityId) -> Self {
        Self(identity.0 as u64)
    }

    /// The identity that counts instead of the address.
    #[inline(always)]
    pub const fn identity(self) -> Option<IdentityId> {
        if self.0 == Self::ELSEWHERE.0 {
            None
        } else {
            Some(IdentityId(self.0 as u32))
        }
    }

    /// Who sent a packet: the pod whose interface it came by, as its recorded addresses say.
    #[inline(never)]
    pub fn sender<W: Identities>(world: &W, whence: Whence) -> Self {
        let Some(source) = whence.source(world) else {
            return Self::ELSEWHERE;
        };
        let known = if source.has(Endpoint::UNKNOWN) {
            None
        } else if source.v6 != V6::default() {
            Addresses::<V6>::address(world, source.v6)
        } else {
            Addresses::<V4>::address(world, source.v4)
        };
        Self::of(known.map_or(IdentityId::WORLD, |entry| entry.identity))
    }
}
