//! Rulesets and port sets.

use bytemuck::{Pod, Zeroable};

use crate::{
    identity::{IdentityId, PortSetId, RulesetId},
    limits::INLINE_PORTS,
    verdict::Verdict,
};

/// Key of RULES.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct RuleKey {
    /// The endpoint's ruleset of the direction.
    pub ruleset: RulesetId,
    /// The peer.
    pub identity: IdentityId,
}

/// One inline entry of a port set.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct PortEntry {
    /// Port, host byte order, bits outside `mask` zero.
    pub port: u16,
    /// Bits of the port that count; 0 matches every port, and packets that have none.
    pub mask: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// 1: every protocol (then `protocol` and `mask` are 0).
    pub any_protocol: u8,
    /// What the entry says.
    pub verdict: Verdict,
    /// Keeps the size at eight bytes.
    pub reserved: u8,
}

/// Value of PORT_SETS: one cache line.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct PortSet {
    /// Entries of `inline` in use; the first match counts, longest prefix first.
    pub count: u32,
    /// Not 0: the entries stand in PORTS under this number instead.
    pub in_trie: u32,
    /// The entries of a small set.
    pub inline: [PortEntry; INLINE_PORTS],
}

/// Key data of PORTS, behind the prefix length in bits: [`PortKey::ANY_PROTOCOL_BITS`],
/// [`PortKey::PROTOCOL_BITS`], or that plus one to sixteen bits of the port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct PortKey {
    /// The port set, big-endian so that all of it can be a prefix.
    pub set: [u8; 4],
    /// IP protocol number.
    pub protocol: u8,
    /// Port, network byte order.
    pub port: [u8; 2],
    /// Never part of a prefix.
    pub reserved: u8,
}

impl PortKey {
    /// Prefix length of an entry for every protocol.
    pub const ANY_PROTOCOL_BITS: u32 = 32;
    /// Prefix length of an entry for every port of a protocol.
    pub const PROTOCOL_BITS: u32 = 40;
    /// Prefix length of an entry for one port, and of a look-up.
    pub const PORT_BITS: u32 = 56;

    /// The key of one port (host byte order) of one set.
    #[inline(always)]
    pub const fn new(set: PortSetId, protocol: u8, port: u16) -> Self {
        Self {
            set: set.0.to_be_bytes(),
            protocol,
            port: port.to_be_bytes(),
            reserved: 0,
        }
    }
}
