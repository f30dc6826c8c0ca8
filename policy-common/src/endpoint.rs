//! One pod interface on this node, as ENDPOINTS holds it under its number.

use bytemuck::{Pod, Zeroable};

use crate::{
    addr::{V4, V6},
    identity::{PortSetId, RulesetId},
};

/// Number of an endpoint on this node: 1 to [`crate::limits::MAX_ENDPOINTS`]; it fits the 14
/// bits of the stamp. A number is used again only after its flows are gone.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct EndpointId(pub u16);

impl EndpointId {
    /// No endpoint.
    pub const NONE: Self = Self(0);
}

/// The rules of one direction of an endpoint.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct DirectionRules {
    /// Key of RULES; [`RulesetId::NONE`] when the direction is not isolated.
    pub ruleset: RulesetId,
    /// The port set for identities that the ruleset does not list.
    pub default_ports: PortSetId,
}

/// Value of ENDPOINTS, keyed by the endpoint's number (`u32`). An update swaps the whole element, and a
/// copy proves itself whole by [`Endpoint::check`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Endpoint {
    /// A flow with another epoch is evaluated again.
    pub epoch: u32,
    /// The host-side interface, whose element of INTERFACES says this number.
    pub ifindex: u32,
    /// Number of the endpoint: the key again.
    pub id: EndpointId,
    /// `INGRESS_ISOLATED`, `EGRESS_ISOLATED`, `UNKNOWN`, `NO_SOURCE_CHECK`,
    /// `INGRESS_BLOCKS`, `EGRESS_BLOCKS`, `MAC`, `EUI_64`, `SERVICES`.
    pub flags: u16,
    /// The pod's IPv4 address, all zero when it has none.
    pub v4: V4,
    /// Connections to the pod.
    pub ingress: DirectionRules,
    /// Connections from the pod.
    pub egress: DirectionRules,
    /// The pod's IPv6 address, all zero when it has none.
    pub v6: V6,
    /// The bridge whose port the interface is, 0 when it is none.
    pub bridge: u32,
    /// The pod's Ethernet address; counts with the flag `MAC`.
    pub mac: [u8; 6],
    /// Always zero.
    pub reserved: [u8; 6],
    /// Identifies the pod across restarts of the agent (a hash of its UID); 0 when unknown.
    pub pod_tag: u64,
    /// A checksum of everything before it, by [`Endpoint::sealed`].
    pub check: u64,
}

impl Endpoint {
    /// At least one policy covers connections to the pod.
    pub const INGRESS_ISOLATED: u16 = 1;
    /// At least one policy covers connections from the pod.
    pub const EGRESS_ISOLATED: u16 = 2;
    /// The pod behind the interface is not known yet: only ARP, neighbour discovery and the host.
    pub const UNKNOWN: u16 = 4;
    /// The owner of the cluster switched the address checks of this endpoint off.
    pub const NO_SOURCE_CHECK: u16 = 8;
    /// The ingress ruleset has blocks: CIDRS is asked for addresses without an entry.
    pub const INGRESS_BLOCKS: u16 = 16;
    /// The egress ruleset has blocks: CIDRS is asked for addresses without an entry.
    pub const EGRESS_BLOCKS: u16 = 32;

    /// `mac` is known: frames from the pod must carry it.
    pub const MAC: u16 = 64;

    /// The pod's link-local address is the one made of `mac` (RFC 4291, appendix A), and no other.
    pub const EUI_64: u16 = 128;

    /// Where the pod's egress is isolated: SERVICES is asked for addresses without an entry.
    pub const SERVICES: u16 = 256;

    /// 64-bit words of an element.
    pub const WORDS: usize = size_of::<Self>() / 8;

    /// The element as it is written: with its checksum.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        self.check = checksum(&bytemuck::cast(self));
        self
    }

    /// Whether this is one element as [`Endpoint::sealed`] made it, and not parts of two: programs
    /// copy elements that the kernel may reuse under them, in whatever order a processor loads and
    /// stores.
    #[inline(always)]
    pub fn is_whole(&self) -> bool {
        self.check == checksum(bytemuck::cast_ref(self))
    }

    /// The link-local address that is made of `mac`.
    #[inline(always)]
    pub const fn link_local(&self) -> V6 {
        let [a, b, c, d, e, f] = self.mac;
        let mut address = [0; 16];
        [address[0], address[1]] = [0xfe, 0x80];
        [address[8], address[9], address[10]] = [a ^ 2, b, c];
        [address[11], address[12]] = [0xff, 0xfe];
        [address[13], address[14], address[15]] = [d, e, f];
        V6(address)
    }

    /// Whether all bits of `flag` are set.
    #[inline(always)]
    pub const fn has(&self, flag: u16) -> bool {
        self.flags & flag == flag
    }

    /// Whether a policy covers at least one direction.
    #[inline(always)]
    pub const fn is_isolated(&self) -> bool {
        self.flags & (Self::INGRESS_ISOLATED | Self::EGRESS_ISOLATED) != 0
    }
}

/// A checksum of all words but the last, in which it stands. Not zero for zeros.
#[inline(always)]
fn checksum(words: &[u64; Endpoint::WORDS]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut sum = FACTOR;
    let mut index = 0;
    while index < Endpoint::WORDS - 1 {
        // High bits of a product depend on all bits of its factors, low bits do not.
        sum = (sum ^ words[index]).wrapping_mul(FACTOR);
        sum ^= sum >> 32;
        index += 1;
    }
    sum
}
