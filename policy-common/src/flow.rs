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
    /// `PHASE_*`; of a connection it follows from `seen`.
    pub phase: u8,
    /// `OPENED_BY_POD` or `OPENED_BY_PEER`.
    pub opener: u8,
    /// `SEEN_*`.
    pub seen: u8,
}

impl FlowState {
    /// Packets of the opener only.
    pub const PHASE_NEW: u8 = 0;
    /// A connection whose handshake is complete; in other protocols, packets of both sides.
    pub const PHASE_ESTABLISHED: u8 = 1;
    /// A connection that is proved to be over, or whose handshake was broken off.
    pub const PHASE_CLOSING: u8 = 2;
    /// A connection that was answered, and whose opener has not acknowledged the answer.
    pub const PHASE_ANSWERED: u8 = 3;
    /// A connection that is said to be over, by a packet that may be forged.
    pub const PHASE_DOUBTFUL: u8 = 4;

    /// The pod sent the first packet: egress rules count.
    pub const OPENED_BY_POD: u8 = 0;
    /// The peer sent the first packet: ingress rules count.
    pub const OPENED_BY_PEER: u8 = 1;

    /// The pod sent a FIN; its end is `pod_next`.
    pub const SEEN_POD_FIN: u8 = 1;
    /// The peer sent a FIN; its end is `peer_next`.
    pub const SEEN_PEER_FIN: u8 = 2;
    /// There was a reset, and no ordinary segment since.
    pub const SEEN_RESET: u8 = 4;
    /// The other side answered the opener.
    pub const SEEN_ANSWER: u8 = 8;
    /// The opener acknowledged the answer.
    pub const SEEN_CONFIRMATION: u8 = 16;
    /// The peer acknowledged the pod's FIN.
    pub const SEEN_POD_FIN_ACK: u8 = 32;
    /// The pod acknowledged the peer's FIN.
    pub const SEEN_PEER_FIN_ACK: u8 = 64;
    /// The reset had the sequence number that its receiver expects.
    pub const SEEN_EXACT_RESET: u8 = 128;
    /// Of a protocol without handshake: packets more than a second after the first ones.
    pub const SEEN_LATER: u8 = 8;
}

/// Value of FLOWS_V4 and FLOWS_V6.
///
/// While a connection is answered and not confirmed, the answering side's `*_next` is what the opener
/// has to acknowledge, and the opener's own is the other end of what it may acknowledge. Afterwards
/// both are what a reset or the acknowledgement of a FIN is compared with.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Flow {
    /// Verdict and progress.
    pub state: FlowState,
    /// Jiffies of the last packet, stored about once a second.
    pub last_seen: u64,
    /// Identity of the peer when the verdict was taken.
    pub identity: u32,
    /// TCP: the sequence number that the peer expects of the pod, as it last acknowledged it when the
    /// entry was written. SCTP: the pod's initiate tag.
    pub pod_next: u32,
    /// As `pod_next`, of the peer.
    pub peer_next: u32,
    /// [`Flow::ADOPTED`], or 0.
    pub marks: u16,
    /// Keeps the size a multiple of eight.
    pub reserved: u16,
}

impl Flow {
    /// In `marks`, reserved: the connection is one to a Service's address.
    pub const SERVICE: u16 = 1;
    /// In `marks`, reserved: its egress is still to be judged.
    pub const OWED: u16 = 2;
    /// In `marks`, reserved: its egress was judged at its source.
    pub const JUDGED: u16 = 4;
    /// In `marks`: it began before its pod was isolated, and the agent made the entry.
    pub const ADOPTED: u16 = 8;
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
