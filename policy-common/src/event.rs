//! What the programs tell the agent about single packets.

use bytemuck::{Pod, Zeroable};

use crate::endpoint::EndpointId;

/// Direction from the pod's side.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To the pod.
    Ingress = 0,
    /// From the pod.
    Egress = 1,
}

impl Direction {
    /// The name that logs and metrics show.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// Which program wrote an event.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `from_pod`.
    FromPod = 0,
    /// `to_pod`.
    ToPod = 1,
}

/// One record of EVENTS. All of it comes from the packet and the maps: `None` fields are zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Event {
    /// Nanoseconds since boot (`CLOCK_MONOTONIC`).
    pub time: u64,
    /// Source address; IPv4 in the first four bytes.
    pub source: [u8; 16],
    /// Destination address; IPv4 in the first four bytes.
    pub destination: [u8; 16],
    /// Network byte order; 0 where the protocol has no ports.
    pub source_port: [u8; 2],
    /// Network byte order; 0 where the protocol has no ports.
    pub destination_port: [u8; 2],
    /// The pod's host-side interface.
    pub ifindex: u32,
    /// The interface by which the packet came, 0 for this host.
    pub ingress_ifindex: u32,
    /// The peer's identity where rules were asked.
    pub identity: u32,
    /// The ruleset that was asked.
    pub ruleset: u32,
    /// The endpoint's epoch.
    pub epoch: u32,
    /// Bytes of the packet from the link header on.
    pub length: u32,
    /// Events of this endpoint that were suppressed since the one before.
    pub suppressed: u32,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Network byte order.
    pub ethertype: [u8; 2],
    /// [`Direction`].
    pub direction: u8,
    /// [`crate::Reason`].
    pub reason: u8,
    /// 4, 6, or 0 when the packet is not IP.
    pub family: u8,
    /// IP protocol number after extension headers.
    pub protocol: u8,
    /// ICMP type, 0 for other protocols.
    pub icmp_type: u8,
    /// ICMP code, 0 for other protocols.
    pub icmp_code: u8,
    /// Keeps the size a multiple of eight.
    pub reserved: [u8; 6],
}

/// Value of EVENT_BUDGETS, indexed by endpoint number: a token bucket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct EventBudget {
    /// Events that may still be written.
    pub tokens: u32,
    /// Low 32 bits of jiffies when tokens were last added.
    pub refilled: u32,
    /// Events suppressed since the last one written.
    pub suppressed: u32,
    /// Keeps the size a multiple of eight.
    pub reserved: u32,
}
