//! What the programs tell the agent about single packets.

use bytemuck::{Pod, Zeroable};

use crate::{endpoint::EndpointId, verdict::Verdict};

/// One record of EVENTS. All of it comes from the packet and from the tables by which it was judged;
/// what does not apply is zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Event {
    /// Nanoseconds since boot (`CLOCK_MONOTONIC`) when the packet was judged.
    pub time: u64,
    /// Source address as the packet says it, also where that is a forgery; IPv4 in the first four bytes.
    pub source: [u8; 16],
    /// Destination address; IPv4 in the first four bytes.
    pub destination: [u8; 16],
    /// Network byte order; 0 where the protocol has no ports.
    pub source_port: [u8; 2],
    /// Network byte order; 0 where the protocol has no ports.
    pub destination_port: [u8; 2],
    /// The interface whose hook ran.
    pub ifindex: u32,
    /// The peer's identity where rules were asked.
    pub identity: u32,
    /// The endpoint's ruleset of the direction; 0 where it is not isolated.
    pub ruleset: u32,
    /// The endpoint's epoch.
    pub epoch: u32,
    /// Drops of this endpoint number without an event, ever, modulo 2³²; the agent's reader says how many
    /// of them nobody was told of.
    pub suppressed: u32,
    /// The endpoint that was judged.
    pub endpoint: EndpointId,
    /// Network byte order.
    pub ethertype: [u8; 2],
    /// [`crate::Direction`].
    pub direction: u8,
    /// [`crate::Reason`].
    pub reason: u8,
    /// What the rules said, where they were asked: room for audit and reject.
    pub verdict: Verdict,
    /// 4, 6, or 0 when the packet is not IP.
    pub family: u8,
    /// IP protocol number after extension headers.
    pub protocol: u8,
    /// ICMP type, 0 for other protocols.
    pub icmp_type: u8,
    /// ICMP code, 0 for other protocols.
    pub icmp_code: u8,
    /// Keeps the size a multiple of eight.
    pub reserved: [u8; 5],
}

/// Value of EVENT_BUDGETS, indexed by endpoint number: a token bucket that counts in parts of an event,
/// so that no time is lost between two refills. An element of zeros is a full bucket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct EventBudget {
    /// Events that may still be written, times jiffies per second.
    pub credit: u64,
    /// Low 32 bits of jiffies when credit was last added.
    pub refilled: u32,
    /// Drops without an event, ever, modulo 2³². The programs only add to it, whatever the processor.
    pub suppressed: u32,
}
