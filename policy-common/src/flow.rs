//! Tracked connections and remembered fragments.

use bytemuck::{Pod, Zeroable};

use crate::{
    addr::{V4, V6},
    endpoint::EndpointId,
    verdict::Verdict,
};

/// Key of FLOWS_V4: one connection as its pod sees it, the same for both directions.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FlowKeyV4 {
    /// The pod's endpoint.
    pub endpoint: EndpointId,
    /// IP protocol number.
    pub protocol: u8,
    /// Always zero.
    pub reserved: u8,
    /// The pod's address.
    pub pod: V4,
    /// The peer's address.
    pub peer: V4,
    /// The pod's port, network byte order; an echo identifier when the pod asks; else 0.
    pub pod_port: [u8; 2],
    /// The peer's port, network byte order; an echo identifier when the peer asks; else 0.
    pub peer_port: [u8; 2],
}

/// Key of FLOWS_V6: as [`FlowKeyV4`].
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FlowKeyV6 {
    /// The pod's endpoint.
    pub endpoint: EndpointId,
    /// IP protocol number.
    pub protocol: u8,
    /// Always zero.
    pub reserved: u8,
    /// The pod's address.
    pub pod: V6,
    /// The peer's address.
    pub peer: V6,
    /// The pod's port, network byte order; an echo identifier when the pod asks; else 0.
    pub pod_port: [u8; 2],
    /// The peer's port, network byte order; an echo identifier when the peer asks; else 0.
    pub peer_port: [u8; 2],
}

/// What a flow may do and where it stands: one word, so that verdict and epoch never come apart.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FlowState {
    /// Epoch of the endpoint under which the verdict was taken.
    pub epoch: u32,
    /// A deny makes the entry a tombstone.
    pub verdict: Verdict,
    /// `PHASE_*`.
    pub phase: u8,
    /// `OPENED_BY_POD` or `OPENED_BY_PEER`.
    pub opener: u8,
    /// `SEEN_*`.
    pub seen: u8,
}

impl FlowState {
    /// The first packet, or packets of one side only.
    pub const PHASE_NEW: u8 = 0;
    /// Packets of both sides were seen.
    pub const PHASE_ESTABLISHED: u8 = 1;
    /// FIN of both sides, or a reset.
    pub const PHASE_CLOSING: u8 = 2;

    /// The pod sent the first packet: egress rules count.
    pub const OPENED_BY_POD: u8 = 0;
    /// The peer sent the first packet: ingress rules count.
    pub const OPENED_BY_PEER: u8 = 1;

    /// The pod sent a FIN.
    pub const SEEN_POD_FIN: u8 = 1;
    /// The peer sent a FIN.
    pub const SEEN_PEER_FIN: u8 = 2;
    /// The last packet was a reset.
    pub const SEEN_RESET: u8 = 4;
}

/// Value of FLOWS_V4 and FLOWS_V6.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Flow {
    /// Verdict and progress.
    pub state: FlowState,
    /// Low 32 bits of jiffies of the last packet, stored about once a second.
    pub last_seen: u32,
    /// Identity of the peer when the verdict was taken.
    pub identity: u32,
}

/// Value of RECENT: the key of a flow that the endpoint's pod or a peer opened lately.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Recent {
    /// The flow; an IPv4 flow stands in the first bytes of `pod` and `peer`.
    pub key: FlowKeyV6,
    /// 4 or 6; 0 is an empty slot.
    pub family: u32,
    /// Keeps the size a multiple of eight.
    pub reserved: u32,
}

/// Key of FRAGMENTS.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FragmentKey {
    /// The endpoint whose interface the fragment crosses.
    pub endpoint: EndpointId,
    /// IP protocol number; 0 for IPv6, where later fragments do not say it.
    pub protocol: u8,
    /// 4 or 6, plus [`FragmentKey::TO_POD`] for packets towards the pod.
    pub family: u8,
    /// Identification, network byte order; IPv4 in the last two bytes.
    pub id: [u8; 4],
    /// Source; an IPv4 address in the first four bytes.
    pub source: V6,
    /// Destination; an IPv4 address in the first four bytes.
    pub destination: V6,
}

impl FragmentKey {
    /// Set in `family` for packets towards the pod.
    pub const TO_POD: u8 = 0x80;
}

/// Value of FRAGMENTS: what the allowed first fragment said.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FragmentPorts {
    /// Source port (or ICMP type and code), network byte order.
    pub source_port: [u8; 2],
    /// Destination port (or echo identifier), network byte order.
    pub destination_port: [u8; 2],
    /// Bytes from the start of the fragmented part to the end of the transport header: no later
    /// fragment may start inside them.
    pub header_len: u16,
    /// IP protocol number: an IPv6 fragment's own next header may be an extension header.
    pub protocol: u8,
    /// Keeps the size at eight bytes.
    pub reserved: u8,
}
