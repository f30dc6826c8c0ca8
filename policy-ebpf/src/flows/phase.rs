//! The phases of a connection, and what a packet does to them.
//!
//! Knows no tables, no clock and no rules. Invariants: what one side alone sends never makes a
//! connection established, nor ends an established one at once – for the first the opener must
//! acknowledge a number that the other side chose, for the second a reset must have the number, and a
//! FIN the acknowledgement, that only its receiver gives.
//!
//! ```text
//! NEW ── answer ──▶ ANSWERED ── its number is acknowledged ──▶ ESTABLISHED ── both FINs acknowledged,
//!  └───── reset ──────┴────────▶ CLOSING ◀─────────────────────────┤          or an exact reset
//!                                    any other reset, unacknowledged FINs └──▶ DOUBTFUL
//! ```
//! An ordinary segment takes a reset back: whoever would have believed it sends none.

use policy_common::{Direction, Flow, FlowState};

use super::life::sender;
use crate::packet::{
    Bytes, IpPacket, Numbers, Segment,
    numbers::numbers,
    transport::{Kind, tcp},
};

/// How much the answering side may send before the opener's first acknowledgement, in bytes (TCP Fast
/// Open): numbers that lie further apart are those of two answers, of which either may be
/// acknowledged.
const EARLY: u32 = 1 << 20;

/// Whether the packet's sequence numbers can matter to the flow: not to an established connection's
/// ordinary segments.
#[inline(always)]
pub const fn asks_for_numbers(state: &FlowState, segment: Segment) -> bool {
    match segment.kind() {
        Kind::Tcp => {
            state.phase != FlowState::PHASE_ESTABLISHED
                || state.seen & FlowState::SEEN_CONFIRMATION == 0
                || state.seen & (FlowState::SEEN_POD_FIN | FlowState::SEEN_PEER_FIN) != 0
                || segment.tcp_flags() & (tcp::FIN | tcp::RST) != 0
        }
        Kind::Sctp => state.phase != FlowState::PHASE_ESTABLISHED,
        Kind::Udp | Kind::Icmp | Kind::Other => false,
    }
}

/// Reads from a packet what its flow asks for, and moves the flow on. `is_due`: as for [`advance`].
#[inline(always)]
pub fn step<B: Bytes + ?Sized, A>(
    frame: &B,
    packet: &IpPacket<A>,
    segment: Segment,
    direction: Direction,
    flow: &mut Flow,
    is_due: bool,
) {
    let numbers = if is_due || asks_for_numbers(&flow.state, segment) {
        numbers(frame, packet, segment)
    } else {
        Numbers::default()
    };
    advance(flow, direction, segment, &numbers, is_due);
}

/// What an allowed packet in this direction makes of its flow. `is_due`: the entry is written anyway,
/// because it is older than a second.
#[inline(always)]
pub const fn advance(
    flow: &mut Flow,
    direction: Direction,
    segment: Segment,
    numbers: &Numbers,
    is_due: bool,
) {
    let side = sender(direction);
    match segment.kind() {
        Kind::Tcp => advance_tcp(flow, side, segment.tcp_flags(), numbers, is_due),
        Kind::Sctp => {
            shake_hands(flow, side, numbers);
            set_phase(flow);
        }
        Kind::Udp | Kind::Icmp | Kind::Other => exchange(flow, side, is_due),
    }
}

/// Protocols without a handshake: an answer is all there is.
#[inline(always)]
pub(crate) const fn exchange(flow: &mut Flow, side: u8, is_due: bool) {
    if side != flow.state.opener {
        flow.state.phase = FlowState::PHASE_ESTABLISHED;
    }
    if is_due {
        flow.state.seen |= FlowState::SEEN_LATER;
    }
}

#[inline(always)]
const fn advance_tcp(flow: &mut Flow, side: u8, flags: u8, numbers: &Numbers, is_due: bool) {
    // A later fragment, or no TCP that anybody sends.
    if flags == 0 {
        return;
    }
    if flags & tcp::RST != 0 {
        flow.state.seen |= FlowState::SEEN_RESET;
        if is_confirmed(flow) && numbers.announces() && numbers.first == next_of(flow, side) {
            flow.state.seen |= FlowState::SEEN_EXACT_RESET;
        }
        set_phase(flow);
        return;
    }
    if !is_confirmed(flow) {
        flow.state.seen &= !FlowState::SEEN_RESET;
        shake_hands(flow, side, numbers);
    } else if flags & tcp::SYN == 0 {
        flow.state.seen &= !(FlowState::SEEN_RESET | FlowState::SEEN_EXACT_RESET);
    }
    // A SYN, with whatever else, says nothing about a connection that stands.
    if is_confirmed(flow) && flags & tcp::SYN == 0 {
        close(flow, side, flags, numbers, is_due);
    }
    set_phase(flow);
}

/// The handshake: the answering side announces a number, and the opener acknowledges it. Any segment
/// of the answering side counts as its answer: where it knows the connection and we do not, it sends no
/// SYN.
#[inline(always)]
const fn shake_hands(flow: &mut Flow, side: u8, numbers: &Numbers) {
    if is_confirmed(flow) {
        return;
    }
    let opener = flow.state.opener;
    let answering = other(opener);
    let is_answered = flow.state.seen & FlowState::SEEN_ANSWER != 0;
    if side == opener {
        if is_answered && awaits(flow, numbers) {
            flow.state.seen |= FlowState::SEEN_CONFIRMATION;
            set_next(flow, answering, numbers.acknowledged);
            set_next(flow, opener, numbers.first);
        }
        return;
    }
    if !numbers.announces() {
        return;
    }
    if !is_answered {
        flow.state.seen |= FlowState::SEEN_ANSWER;
        set_next(flow, answering, numbers.first);
        set_next(flow, opener, numbers.end);
        return;
    }
    let first = next_of(flow, answering);
    let reach = next_of(flow, opener).wrapping_sub(first);
    let end = numbers.end.wrapping_sub(first);
    if end > EARLY {
        // Another answer (SYN cookies change, or somebody else answers): the one before counts too.
        set_next(flow, opener, first);
        set_next(flow, answering, numbers.first);
    } else if end > reach || (reach > EARLY && end > 0) {
        set_next(flow, opener, numbers.end);
    }
}

/// What closes an established connection: a FIN of each side that the other acknowledges.
#[inline(always)]
const fn close(flow: &mut Flow, side: u8, flags: u8, numbers: &Numbers, is_due: bool) {
    let (fin, fin_ack) = fins(side);
    let (other_fin, other_fin_ack) = fins(other(side));
    if flags & tcp::FIN != 0 {
        if numbers.announces() {
            if flow.state.seen & fin == 0 || next_of(flow, side) != numbers.end {
                flow.state.seen &= !fin_ack;
            }
            flow.state.seen |= fin;
            set_next(flow, side, numbers.end);
        }
    } else if flow.state.seen & (fin | fin_ack) == fin
        && numbers.announces()
        && next_of(flow, side).wrapping_sub(numbers.end) > EARLY
    {
        // Who sent a FIN sends nothing behind it: that one was forged.
        flow.state.seen &= !fin;
    }
    if flow.state.seen & other_fin != 0 {
        if numbers.acknowledges(next_of(flow, other(side))) {
            flow.state.seen |= other_fin_ack;
        }
    } else if is_due && numbers.status & Numbers::ACKNOWLEDGES != 0 {
        set_next(flow, other(side), numbers.acknowledged);
    }
}

/// The bits of a side's FIN, and of its acknowledgement by the other side.
#[inline(always)]
const fn fins(side: u8) -> (u8, u8) {
    match side {
        FlowState::OPENED_BY_POD => (FlowState::SEEN_POD_FIN, FlowState::SEEN_POD_FIN_ACK),
        _ => (FlowState::SEEN_PEER_FIN, FlowState::SEEN_PEER_FIN_ACK),
    }
}

#[inline(always)]
const fn other(side: u8) -> u8 {
    side ^ 1
}

#[inline(always)]
const fn is_confirmed(flow: &Flow) -> bool {
    flow.state.seen & FlowState::SEEN_CONFIRMATION != 0
}

#[inline(always)]
const fn next_of(flow: &Flow, side: u8) -> u32 {
    match side {
        FlowState::OPENED_BY_POD => flow.pod_next,
        _ => flow.peer_next,
    }
}

#[inline(always)]
const fn set_next(flow: &mut Flow, side: u8, number: u32) {
    match side {
        FlowState::OPENED_BY_POD => flow.pod_next = number,
        _ => flow.peer_next = number,
    }
}

/// Whether the opener acknowledges what the other side answered.
#[inline(always)]
const fn awaits(flow: &Flow, numbers: &Numbers) -> bool {
    let first = next_of(flow, other(flow.state.opener));
    let second = next_of(flow, flow.state.opener);
    let reach = second.wrapping_sub(first);
    numbers.acknowledges(first)
        || numbers.acknowledges(second)
        || (numbers.status & Numbers::ACKNOWLEDGES != 0
            && reach <= EARLY
            && numbers.acknowledged.wrapping_sub(first) <= reach)
}

/// The phase of a connection, which follows from what was seen.
#[inline(always)]
const fn set_phase(flow: &mut Flow) {
    const FINS: u8 = FlowState::SEEN_POD_FIN | FlowState::SEEN_PEER_FIN;
    const FIN_ACKS: u8 = FlowState::SEEN_POD_FIN_ACK | FlowState::SEEN_PEER_FIN_ACK;
    let seen = flow.state.seen;
    let is_confirmed = is_confirmed(flow);
    flow.state.phase = if seen & FlowState::SEEN_EXACT_RESET != 0 || seen & FIN_ACKS == FIN_ACKS {
        FlowState::PHASE_CLOSING
    } else if seen & FlowState::SEEN_RESET != 0 {
        if is_confirmed {
            FlowState::PHASE_DOUBTFUL
        } else {
            FlowState::PHASE_CLOSING
        }
    } else if is_confirmed && seen & FINS == FINS {
        FlowState::PHASE_DOUBTFUL
    } else if is_confirmed {
        FlowState::PHASE_ESTABLISHED
    } else if seen & FlowState::SEEN_ANSWER != 0 {
        FlowState::PHASE_ANSWERED
    } else {
        FlowState::PHASE_NEW
    };
}
