//! Counters for every packet, events for dropped ones.

use core::{arch::asm, mem::offset_of};

use aya_ebpf::{
    bindings::{__sk_buff, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns},
    maps::ring_buf::RingBufEntry,
    programs::TcContext,
};
use policy_common::{Direction, Endpoint, EndpointId, Event, EventBudget, Reason, V4, V6};
use policy_ebpf::{
    Decision, Judgement,
    budget::Allowance,
    packet::{
        IpPacket, Segment, Wire,
        ethernet::{self, ethertype},
        transport::Kind,
    },
    read::read,
};

use super::{frame::Received, globals::config, maps, metadata};

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
pub(crate) fn is_suppressed(endpoint: EndpointId) -> bool {
    let Some(budget) = maps::EVENT_BUDGETS.get_ptr_mut(endpoint.0.into()) else {
        return false;
    };
    // SAFETY: an array slot stays where it is; a lost addition does no harm.
    let budget = unsafe { &mut *budget };
    let is_suppressed = allowance().is_used_up(budget, now());
    if is_suppressed {
        suppress(budget);
    }
    is_suppressed
}

/// Counts a drop without an event, on whatever processor. Nobody takes anything from the count: whoever
/// reads it remembers how far it was told.
#[inline(always)]
fn suppress(budget: &mut EventBudget) {
    let budget: *mut EventBudget = budget;
    // SAFETY: the count is within the element. The standard library has no atomic additions for this
    // target.
    unsafe {
        asm!(
            "lock *(u32 *)({budget} + {offset}) += {one}",
            budget = in(reg) budget,
            offset = const offset_of!(EventBudget, suppressed),
            one = in(reg) 1u64,
        );
    }
}

#[inline(always)]
fn allowance() -> Allowance {
    Allowance {
        rate: config!(event_rate),
        burst: config!(event_burst),
        hz: config!(hz),
    }
}

/// Low 32 bits of jiffies.
#[inline(always)]
fn now() -> u32 {
    // SAFETY: the helper has no arguments.
    unsafe { bpf_jiffies64() as u32 }
}

/// Writes a debug line where they are on, and an event if the packet is dropped and the endpoint has not
/// used up its budget. Not inlined, and told in registers: most packets need none of it.
#[inline(never)]
pub(crate) fn report<B: Received>(
    skb: *mut __sk_buff,
    endpoint: Option<&Endpoint>,
    direction: Direction,
    decision: Decision,
) -> bool {
    let (frame, origin) = (&B::of(skb), metadata::origin(skb));
    let judgement = Judgement {
        endpoint,
        direction,
        decision,
    };
    if config!(debug) != 0 {
        aya_log_ebpf::debug!(
            &TcContext::new(skb),
            "{} ifindex {} from {} stamp {:x}: reason {} identity {}",
            judgement.direction.name(),
            origin.ifindex,
            origin.ingress_ifindex,
            origin.stamp,
            decision.reason_number(),
            decision.identity().0,
        );
    }
    if !decision.drops() {
        return false;
    }
    let Some(budget) = maps::EVENT_BUDGETS.get_ptr_mut(judgement.id().0.into()) else {
        return false;
    };
    // SAFETY: an array slot stays where it is. Processors may race for the last events; one too many
    // does no harm.
    let budget = unsafe { &mut *budget };
    if !allowance().take(budget, now()) {
        suppress(budget);
        return false;
    }
    let Some(mut entry) = maps::EVENTS.reserve(0) else {
        // The agent is behind.
        suppress(budget);
        return false;
    };
    let event = zeroed(&mut entry);
    // SAFETY: the helper has no arguments.
    event.time = unsafe { bpf_ktime_get_ns() };
    event.ifindex = origin.ifindex;
    event.identity = decision.identity().0;
    event.ruleset = judgement.ruleset().0;
    event.epoch = judgement.epoch();
    event.suppressed = budget.suppressed;
    event.endpoint = judgement.id();
    event.direction = judgement.direction as u8;
    event.reason = decision.reason_number();
    event.verdict = decision.verdict();
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

/// Fills in what the packet says, as far as it can be read.
#[inline(always)]
fn describe<B: Received>(frame: &B, event: &mut Event) -> bool {
    let Some(ethertype) = ethernet::ethertype(frame) else {
        return false;
    };
    event.ethertype = ethertype.to_be_bytes();
    match ethertype {
        ethertype::IPV4 => addresses::<V4, B>(frame, event),
        ethertype::IPV6 => addresses::<V6, B>(frame, event),
        _ => false,
    }
}

#[inline(always)]
fn addresses<F: Wire, B: Received>(frame: &B, event: &mut Event) -> bool {
    let Ok((packet, segment)) = read::<F, _>(frame) else {
        return false;
    };
    network(&packet, event);
    if segment != Segment::NONE {
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
        Kind::Tcp | Kind::Sctp | Kind::Udp | Kind::Other => {
            event.source_port = segment.source_port();
            event.destination_port = segment.destination_port();
        }
    }
}
