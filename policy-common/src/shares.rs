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
    /// The slot of the next flow.
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

/// Slots of a ring's chunk.
pub const CHUNK_SLOTS: u32 = 32;

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

/// Key of RECENT_CHUNKS: the second and later chunks of a ring; the first stands in RECENT.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct ChunkKey {
    /// Whose.
    pub endpoint: EndpointId,
    /// Which side's.
    pub opener: u16,
    /// Number of the chunk, from 1.
    pub chunk: u32,
}

/// Value of RECENT_CHUNKS.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Chunk(pub [Recent; CHUNK_SLOTS as usize]);
