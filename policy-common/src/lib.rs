#![no_std]
//! Plain-old-data shared by the kernel programs and user space.
//!
//! Owns the layout of every map key and value, of events and of the load-time
//! configuration, and the numbers that appear in them. Holds constructors and
//! getters, no logic. Invariant: every type is `#[repr(C)]` without implicit
//! padding (bytemuck's `Pod` proves it) and its size is asserted here, because
//! maps outlive the programs that were built with them.

pub mod addr;
pub mod address_entry;
pub mod config;
pub mod counter;
pub mod direction;
pub mod endpoint;
pub mod event;
pub mod flow;
pub mod identity;
pub mod limits;
pub mod names;
pub mod rule;
pub mod shares;
pub mod verdict;

pub use addr::{V4, V6};
pub use address_entry::AddressEntry;
pub use config::{Config, Control, PodLinks};
pub use counter::Counter;
pub use direction::Direction;
pub use endpoint::{DirectionRules, Endpoint, EndpointId};
pub use event::{Event, EventBudget};
pub use flow::{Flow, FlowKeyV4, FlowKeyV6, FlowState, FragmentKey, FragmentPorts};
pub use identity::{IdentityId, PortSetId, RulesetId};
pub use rule::{PortEntry, PortKey, PortSet, RuleKey};
pub use shares::{Block, Chunk, Credit, FlowCounts, Recent, Side};
pub use verdict::{Action, Reason, Verdict};

/// Version of the layouts that survive a restart of the agent (flows, fragments, counts): a new
/// agent that finds another number in [`NodeState`] starts those tables afresh.
pub const LAYOUT_VERSION: u32 = 3;

/// What one pin directory remembers between two runs of the agent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct NodeState {
    /// The last epoch handed out; only grows, across restarts too.
    pub epoch: u64,
    /// [`LAYOUT_VERSION`] of the agent that wrote the tables.
    pub layout: u32,
    /// Its version: major, minor, patch; 0, 0, 0 is not known.
    pub agent: [u8; 3],
    /// Keeps the size a multiple of eight.
    pub reserved: u8,
}

const _: () = {
    assert!(size_of::<AddressEntry>() == 8);
    assert!(size_of::<Endpoint>() == 80);
    assert!(size_of::<FlowKeyV4>() == 16);
    assert!(size_of::<FlowKeyV6>() == 40);
    assert!(size_of::<Flow>() == 32);
    assert!(size_of::<FlowCounts>() == 48);
    assert!(size_of::<Credit>() == 16);
    assert!(size_of::<Recent>() == 48);
    assert!(size_of::<Block>() == 16);
    assert!(size_of::<FragmentKey>() == 40);
    assert!(size_of::<PortSet>() == 64);
    assert!(size_of::<PortKey>() == 8);
    assert!(size_of::<RuleKey>() == 8);
    assert!(size_of::<Event>() == 80);
    assert!(size_of::<EventBudget>() == 16);
    assert!(size_of::<NodeState>() == 16);
};
