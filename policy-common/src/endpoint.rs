//! One pod interface on this node, as ENDPOINTS holds it.

use bytemuck::{Pod, Zeroable};

use crate::{
    addr::{V4, V6},
    identity::{PortSetId, RulesetId},
};

/// Number of an endpoint on this node: 1 to [`crate::limits::MAX_ENDPOINTS`] - 1; it fits the 15
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

/// Value of ENDPOINTS, keyed by the index of the host-side interface (native order). An update
/// swaps the whole element.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Endpoint {
    /// A flow with another epoch is evaluated again.
    pub epoch: u32,
    /// The key again: an element that the kernel reused under a reader does not match.
    pub ifindex: u32,
    /// Connections to the pod.
    pub ingress: DirectionRules,
    /// Connections from the pod.
    pub egress: DirectionRules,
    /// The pod's IPv4 address, all zero when it has none.
    pub v4: V4,
    /// The pod's IPv6 address, all zero when it has none.
    pub v6: V6,
    /// Number of the endpoint.
    pub id: EndpointId,
    /// `INGRESS_ISOLATED`, `EGRESS_ISOLATED`, `UNKNOWN`, `NO_SOURCE_CHECK`,
    /// `INGRESS_BLOCKS`, `EGRESS_BLOCKS`.
    pub flags: u16,
    /// The bridge whose port the interface is, 0 when it is none.
    pub bridge: u32,
    /// Keeps `pod_tag` aligned.
    pub reserved: u32,
    /// Identifies the pod across restarts of the agent (a hash of its UID); 0 when unknown.
    pub pod_tag: u64,
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

/// Value of FLOW_COUNTS, indexed by endpoint number: live entries of the flow tables. Kept by the
/// programs without locks and put right by the agent's sweep.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FlowCounts {
    /// Flows that the pod opened.
    pub pod_opened: u64,
    /// Flows that peers opened.
    pub peer_opened: u64,
    /// Where the next flow that the pod opens goes in RECENT.
    pub pod_cursor: u32,
    /// Where the next flow that a peer opens goes in RECENT.
    pub peer_cursor: u32,
}
