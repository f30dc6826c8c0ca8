//! Counters for every packet, events for dropped ones.

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns},
    maps::ring_buf::RingBufEntry,
};
use policy_common::{Direction, Endpoint, EndpointId, Event, Reason, RulesetId};
use policy_ebpf::{
    Decision, Origin,
    packet::{
        Bytes, IpPacket, Segment, Wire,
        ethernet::{self, ethertype},
        transport::{self, Kind},
    },
};

use super::{frame::Frame, maps, world::config};

/// Counts a packet.
#[inline(always)]
pub(crate) fn count(direction: Direction, decision: Decision, length: usize) {
    let slot = direction as u32 * Reason::COUNT + u32::from(decision.reason_number());
    if let Some(counter) = maps::METRICS.get_ptr_mut(slot) {
        // SAFETY: the slot belongs to this processor, and the program is not interrupted by itself.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += length as u64;
        }
    }
}

/// Whether an event about a drop would be one too many for the endpoint: then it is counted as
/// suppressed, and there is nothing to report. The usual end of a flood, so it is cheap.
#[inline(always)]
pub(crate) fn is_suppressed(endpoint: Option<&Endpoint>) -> bool {
    let number = endpoint.map_or(EndpointId::NONE, |endpoint| endpoint.id);
    let Some(budget) = maps::EVENT_BUDGETS.get_ptr_mut(number.0.into()) else {
        return false;
    };
    let (rate, hz) = (config!(event_rate), config!(hz));
    // SAFETY: an array slot stays where it is; a lost addition does no harm. The helper has no
    // arguments.
    unsafe {
        let elapsed = (bpf_jiffies64() as u32).wrapping_sub((*budget).refilled);
        let earns = u64::from(elapsed) * u64::from(rate) >= u64::from(hz);
        if (*budget).tokens != 0 || earns {
            return false;
        }
        (*budget).suppressed = (*budget).suppressed.wrapping_add(1);
    }
    true
}

/// Writes a debug line where they are on, and an event if the decision deserves one and the endpoint
/// has not used up its budget. Not inlined: most packets need none of it.
#[inline(never)]
pub(crate) fn report(
    frame: &Frame,
    origin: &Origin,
    endpoint: Option<&Endpoint>,
    direction: Direction,
    decision: Decision,
) -> bool {
    if config!(debug) != 0 {
        aya_log_ebpf::debug!(
            &frame.context(),
            "{} ifindex {} from {} stamp {:x}: reason {} identity {}",
            direction.name(),
            origin.ifindex,
            origin.ingress_ifindex,
            origin.stamp,
            decision.reason_number(),
            decision.identity().0,
        );
    }
    let is_new = decision.reason_number() == Reason::Allowed as u8;
    if !decision.drops() && !(config!(allow_events) != 0 && is_new) {
        return false;
    }
    let (endpoint, epoch, ruleset) = match endpoint {
        Some(endpoint) => (
            endpoint.id,
            endpoint.epoch,
            match direction {
                Direction::Ingress => endpoint.ingress.ruleset,
                Direction::Egress => endpoint.egress.ruleset,
            },
        ),
        None => (EndpointId::NONE, 0, RulesetId::NONE),
    };
    let Some(suppressed) = take_token(endpoint.0.into()) else {
        return false;
    };
    let Some(mut entry) = maps::EVENTS.reserve(0) else {
        return false;
    };
    let event = zeroed(&mut entry);
    // SAFETY: the helper has no arguments.
    event.time = unsafe { bpf_ktime_get_ns() };
    event.ifindex = origin.ifindex;
    event.ingress_ifindex = origin.ingress_ifindex;
    event.identity = decision.identity().0;
    event.ruleset = ruleset.0;
    event.epoch = epoch;
    event.length = frame.length() as u32;
    event.suppressed = suppressed;
    event.endpoint = endpoint;
    event.direction = direction as u8;
    event.reason = decision.reason_number();
    describe(frame, event);
    // The reader polls: waking it for every event would cost more than the packet.
    entry.submit(BPF_RB_NO_WAKEUP.into());
    true
}

/// An event of zeros, in the ring: one that is built on the stack is copied byte by byte.
#[inline(always)]
fn zeroed(entry: &mut RingBufEntry<Event>) -> &mut Event {
    let words = entry.as_mut_ptr().cast::<u64>();
    for word in 0..size_of::<Event>() / 8 {
        // SAFETY: within the entry, which begins at a multiple of eight (checked below).
        unsafe { words.add(word).write_volatile(0) };
    }
    const { assert!(align_of::<Event>() == 8 && size_of::<Event>().is_multiple_of(8)) };
    // SAFETY: every byte was written, and any bytes are an event.
    unsafe { &mut *words.cast() }
}

/// Takes a token from the endpoint's bucket: the number of events suppressed since the last one.
/// Processors may race for the last tokens; one event too many does no harm.
#[inline(always)]
fn take_token(endpoint: u32) -> Option<u32> {
    let budget = maps::EVENT_BUDGETS.get_ptr_mut(endpoint)?;
    let (rate, burst, hz) = (config!(event_rate), config!(event_burst), config!(hz));
    // SAFETY: an array slot stays where it is; see above for races. The helper has no arguments.
    unsafe {
        let now = bpf_jiffies64() as u32;
        let elapsed = now.wrapping_sub((*budget).refilled);
        let earned = if elapsed >= hz * 64 {
            burst
        } else {
            (elapsed * rate).checked_div(hz).unwrap_or(0)
        };
        if earned > 0 {
            let tokens = (*budget).tokens.wrapping_add(earned);
            (*budget).tokens = if tokens > burst { burst } else { tokens };
            (*budget).refilled = now;
        }
        if (*budget).tokens == 0 {
            (*budget).suppressed = (*budget).suppressed.wrapping_add(1);
            return None;
        }
        (*budget).tokens -= 1;
        let suppressed = (*budget).suppressed;
        (*budget).suppressed = 0;
        Some(suppressed)
    }
}

/// Fills in what the packet says, as far as it can be read.
#[inline(always)]
fn describe(frame: &Frame, event: &mut Event) -> bool {
    let Some(ethertype) = ethernet::ethertype(frame) else {
        return false;
    };
    event.ethertype = ethertype.to_be_bytes();
    match ethertype {
        ethertype::IPV4 => addresses::<policy_common::V4>(frame, event),
        ethertype::IPV6 => addresses::<policy_common::V6>(frame, event),
        _ => false,
    }
}

#[inline(always)]
fn addresses<F: Wire>(frame: &Frame, event: &mut Event) -> bool {
    match F::plain(frame) {
        Some((packet, segment)) => {
            network(&packet, event);
            ports(segment, event);
            true
        }
        None => parsed::<F>(frame, event),
    }
}

#[inline(never)]
fn parsed<F: Wire>(frame: &Frame, event: &mut Event) -> bool {
    let Ok(packet) = F::parse(frame, ethernet::HEADER_LEN) else {
        return false;
    };
    network(&packet, event);
    if packet.is_later_fragment() {
        return true;
    }
    if let Some(segment) = transport::parse(frame, &packet) {
        ports(segment, event);
    }
    true
}

#[inline(always)]
fn network<F: Wire>(packet: &IpPacket<F>, event: &mut Event) {
    event.family = F::VERSION;
    event.source = packet.source.widened().0;
    event.destination = packet.destination.widened().0;
    event.protocol = packet.protocol();
}

#[inline(always)]
fn ports(segment: Segment, event: &mut Event) {
    match segment.kind() {
        Kind::Icmp => [event.icmp_type, event.icmp_code] = segment.source_port(),
        _ => {
            event.source_port = segment.source_port();
            event.destination_port = segment.destination_port();
        }
    }
}
