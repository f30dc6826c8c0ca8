//! The life of a tracked connection: how long an entry lives, and what a packet does to it.

use policy_common::{Direction, Flow, FlowState};

use crate::packet::{
    Segment, protocol,
    transport::{Kind, tcp},
};

/// How long an entry lives after its last packet, in seconds.
#[inline(always)]
pub const fn lifetime(protocol_number: u8, phase: u8) -> u32 {
    match (protocol_number, phase) {
        (protocol::TCP, FlowState::PHASE_ESTABLISHED) => 24 * 3600,
        (protocol::TCP, _) => 60,
        (protocol::UDP, FlowState::PHASE_ESTABLISHED) => 120,
        (protocol::SCTP, FlowState::PHASE_ESTABLISHED) => 300,
        (protocol::SCTP, _) => 60,
        (protocol::ICMP | protocol::ICMPV6, _) => 30,
        (_, FlowState::PHASE_ESTABLISHED) => 120,
        _ => 30,
    }
}

/// How far `last_seen` may lie ahead of the clock, in jiffies: another processor read it a moment
/// later.
const AHEAD: u32 = 1 << 16;

/// Jiffies since the flow's last packet at `now` (low 32 bits of jiffies; they wrap after 49 days at
/// 1000 Hz).
#[inline(always)]
pub const fn idle(flow: &Flow, now: u32) -> u32 {
    let idle = now.wrapping_sub(flow.last_seen);
    if idle > u32::MAX - AHEAD { 0 } else { idle }
}

/// Whether an entry's life is over at `now`.
#[inline(always)]
pub const fn is_expired(flow: &Flow, protocol_number: u8, now: u32, hz: u32) -> bool {
    idle(flow, now) > lifetime(protocol_number, flow.state.phase).wrapping_mul(hz)
}

/// Whether a flow may give way before its life is over: it is unanswered or closed. A tombstone may not:
/// without it the other side's next packet might open the flow in reverse.
#[inline(always)]
pub const fn is_spare(state: &FlowState) -> bool {
    state.phase != FlowState::PHASE_ESTABLISHED && state.verdict.allows()
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

/// The state after an allowed packet in this direction.
#[inline(always)]
pub const fn advance(state: FlowState, direction: Direction, segment: Segment) -> FlowState {
    let mut next = state;
    if sender(direction) != state.opener && state.phase == FlowState::PHASE_NEW {
        next.phase = FlowState::PHASE_ESTABLISHED;
    }
    if !matches!(segment.kind(), Kind::Tcp) || segment.tcp_flags() == 0 {
        return next;
    }
    if segment.tcp_flags() & tcp::FIN != 0 {
        next.seen |= match direction {
            Direction::Egress => FlowState::SEEN_POD_FIN,
            Direction::Ingress => FlowState::SEEN_PEER_FIN,
        };
    }
    // A reset with a wrong sequence number changes nothing at its receiver: the next ordinary
    // segment shows that the connection lives.
    if segment.tcp_flags() & tcp::RST != 0 {
        next.seen |= FlowState::SEEN_RESET;
    } else {
        next.seen &= !FlowState::SEEN_RESET;
    }
    let both = FlowState::SEEN_POD_FIN | FlowState::SEEN_PEER_FIN;
    if next.seen & both == both || next.seen & FlowState::SEEN_RESET != 0 {
        next.phase = FlowState::PHASE_CLOSING;
    } else if next.phase == FlowState::PHASE_CLOSING {
        next.phase = FlowState::PHASE_ESTABLISHED;
    }
    next
}
