//! Sizes of the tables as the object declares them; the agent may load other sizes.

use crate::shares::CHUNK_SLOTS;

/// Endpoints, numbered from 1.
pub const MAX_ENDPOINTS: u32 = 4_096;
/// Exact addresses of each family.
pub const MAX_ADDRESSES: u32 = 262_144;
/// Lines of IPv4 addresses, eight to each.
pub const LINES_V4: u32 = MAX_ADDRESSES / 8;
/// Lines of IPv6 addresses, up to three to each.
pub const LINES_V6: u32 = MAX_ADDRESSES / 2;
/// Lines of rules, eight to each.
pub const RULE_LINES: u32 = MAX_RULES / 8;
/// Prefixes of each family.
pub const MAX_CIDRS: u32 = 65_536;
/// Prefixes of each family that this node delivers locally.
pub const MAX_LOCALS: u32 = 16_384;
/// Prefixes of each family of Services' addresses.
pub const MAX_SERVICES: u32 = 16_384;
/// (ruleset, identity) pairs.
pub const MAX_RULES: u32 = 262_144;
/// Port sets.
pub const MAX_PORT_SETS: u32 = 16_384;
/// Entries of port sets that are too large to stand inline.
pub const MAX_PORTS: u32 = 131_072;
/// Flows of each family.
pub const MAX_FLOWS: u32 = 262_144;
/// First fragments whose ports are remembered.
pub const MAX_FRAGMENTS: u32 = 16_384;
/// Bytes of the event ring, a power of two.
pub const EVENT_BYTES: u32 = 1 << 20;
/// Entries that stand inline in a port set.
pub const INLINE_PORTS: usize = 7;
/// Blocks of RECENT for the chunks of rings: a quarter more places than flows.
pub const MAX_BLOCKS: u32 = MAX_FLOWS / (4 * CHUNK_SLOTS) * 5;
/// IPv6 extension headers that are walked before a packet is dropped.
pub const MAX_EXTENSION_HEADERS: usize = 6;
/// Words of POD_LINKS.
pub const POD_LINKS: u32 = 4_096;
/// 64-bit words of the bitmap of UDP tunnel ports.
pub const TUNNEL_PORT_WORDS: u32 = 1_024;
