//! What each endpoint holds of the flow tables, and which of its flows may give way to new ones.

use bytemuck::{Pod, Zeroable};

use crate::{endpoint::EndpointId, flow::FlowKeyV6};

/// The kernel's lock, which it finds in a map's value by the name of its type; programs hold it for some
/// instructions. Zero is unlocked; user space neither reads
/// nor writes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct bpf_spin_lock {
    /// The kernel's.
    pub val: u32,
}

/// What one side of an endpoint holds: the flows that the pod opened, or those that its peers opened.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Side {
    /// Entries of both flow tables.
    pub live: u32,
    /// Where its next flow goes in its ring of recent flows.
    pub cursor: u32,
    /// Slots of the ring, each of which was some flow's: it grows while all of them are taken.
    pub slots: u32,
    /// How often the ring came round or was cut, modulo 2³²: what was lent of it before is void.
    pub laps: u32,
}

/// Value of FLOW_COUNTS, indexed by endpoint number. Kept by the programs under the lock, and put right
/// by the agent's sweep.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FlowCounts {
    /// The programs' lock.
    pub lock: bpf_spin_lock,
    /// Entries beyond its own share that the endpoint has taken out of FLOW_SHARED.
    pub granted: u32,
    /// Flows that the pod opened.
    pub pod: Side,
    /// Flows that peers opened.
    pub peer: Side,
    /// Flows that were lent to processors ([`Credit`]) since these last returned what was left; both sides.
    pub lent: u32,
    /// Another number each time the agent puts the counts right: what was lent before is void.
    pub era: u32,
}

/// Element of FLOW_CREDITS, of one processor: flows of one side of an endpoint that are counted and have
/// slots of its ring already, so that most new flows need no lock.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Credit {
    /// The place of the next flow in RECENT.
    pub next: u32,
    /// Flows that are left.
    pub left: u16,
    /// Flows that were lent.
    pub lent: u16,
    /// [`FlowCounts::era`] when they were lent.
    pub era: u32,
    /// [`Side::laps`] then.
    pub laps: u32,
}

/// Slots of the first part of every ring, which has places of its own in RECENT.
pub const FIRST_SLOTS: u32 = 16;

/// Slots of each further part, a chunk, and places of a block of RECENT.
pub const CHUNK_SLOTS: u32 = 64;

/// An element of a ring of recent flows: a flow that this side opened.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Recent {
    /// The flow; an IPv4 flow stands in the first bytes of `pod` and `peer`.
    pub key: FlowKeyV6,
    /// 4 or 6; 0 is an empty slot.
    pub family: u32,
    /// Of the peer's address: equal for equal peers, almost always another for others.
    pub peer_hash: u32,
}

/// A chunk of a ring: whose, and which – bits 0: endpoint, 16: opener, 32: its number, from 1. Zero is none.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
pub struct Chunk(pub u64);

impl Chunk {
    /// None.
    pub const NONE: Self = Self(0);

    /// A chunk of the ring of one side of an endpoint.
    #[inline(always)]
    pub const fn new(endpoint: EndpointId, opener: u8, number: u32) -> Self {
        Self(endpoint.0 as u64 | (opener as u64 & 1) << 16 | (number as u64) << 32)
    }

    /// Whose.
    #[inline(always)]
    pub const fn endpoint(self) -> EndpointId {
        EndpointId(self.0 as u16)
    }

    /// Which side's.
    #[inline(always)]
    pub const fn opener(self) -> u8 {
        (self.0 >> 16) as u8
    }

    /// Which one of the ring.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Element of RECENT_BLOCKS: whose a block of RECENT is. Programs claim one that is nobody's under its lock;
/// the agent makes it nobody's again.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Block {
    /// The programs' lock.
    pub lock: bpf_spin_lock,
    /// Keeps the next field aligned.
    pub reserved: u32,
    /// The chunk that has its slots here.
    pub chunk: Chunk,
}
