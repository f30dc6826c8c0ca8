//! How long an entry of the flow tables lives, and when it gives way before that.
//!
//! Knows phases, not how packets move between them (that is [`super::phase`]). Invariant: a tombstone
//! and an established connection never give way while they live.

use policy_common::{Direction, Flow, FlowState};

use crate::packet::{
    protocol,
    transport::{Kind, kind_of},
};

/// How long an entry lives after its last packet, in seconds. A reset or a FIN that may be forged does
/// not end an idle connection at once, and clients that close by a reset leave no entry for a day.
#[inline(always)]
pub const fn lifetime(protocol_number: u8, phase: u8) -> u32 {
    match (protocol_number, phase) {
        (protocol::TCP, FlowState::PHASE_ESTABLISHED) => 24 * 3600,
        (protocol::TCP, FlowState::PHASE_DOUBTFUL) => 600,
        (protocol::TCP, _) => 60,
        (protocol::UDP, FlowState::PHASE_ESTABLISHED) => 120,
        (protocol::SCTP, FlowState::PHASE_ESTABLISHED) => 300,
        (protocol::SCTP, _) => 60,
        (protocol::ICMP | protocol::ICMPV6, _) => 30,
        (_, FlowState::PHASE_ESTABLISHED) => 120,
        _ => 30,
    }
}

/// Jiffies since the flow's last packet at `now`. Another processor may have read the clock later.
#[inline(always)]
pub const fn idle(flow: &Flow, now: u64) -> u64 {
    now.saturating_sub(flow.last_seen)
}

/// Whether an entry's life is over at `now` (jiffies).
#[inline(always)]
pub const fn is_expired(flow: &Flow, protocol_number: u8, now: u64, hz: u32) -> bool {
    let life = lifetime(protocol_number, flow.state.phase) as u64;
    idle(flow, now) > life.saturating_mul(hz as u64)
}

/// Whether a flow may give way before its life is over: nobody has confirmed it, or it is closed, or said
/// to be. A tombstone may not: without it the other side's next packet might open the flow in reverse.
#[inline(always)]
pub const fn is_spare(state: &FlowState) -> bool {
    state.phase != FlowState::PHASE_ESTABLISHED && state.verdict.allows()
}

/// Whether a protocol knows connections that begin with a handshake: only these have more to lose than
/// the next packet when their entry gives way.
#[inline(always)]
pub const fn has_handshake(protocol_number: u8) -> bool {
    matches!(kind_of(protocol_number), Kind::Tcp | Kind::Sctp)
}

/// The side that sends in this direction.
#[inline(always)]
pub const fn sender(direction: Direction) -> u8 {
    match direction {
        Direction::Egress => FlowState::OPENED_BY_POD,
        Direction::Ingress => FlowState::OPENED_BY_PEER,
    }
}

/// The direction in which a flow was opened.
#[inline(always)]
pub const fn opened_in(state: &FlowState) -> Direction {
    match state.opener {
        FlowState::OPENED_BY_POD => Direction::Egress,
        _ => Direction::Ingress,
    }
}
