//! The TC programs: one decision each, turned into an action.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod bpf;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::generated::bpf_jiffies64,
    macros::classifier,
    programs::TcContext,
};
use policy_common::{Direction, Endpoint, EndpointId, Reason};
use policy_ebpf::{
    Decision, Origin, Stamp, from_pod, lookup::Policy as _, packet::Bytes as _, to_pod,
};

use crate::bpf::{
    frame::Frame,
    metadata, report,
    world::{Kernel, config},
};

/// TC ingress of a pod's host-side interface.
#[classifier]
fn from_pod(ctx: TcContext) -> i32 {
    let skb: *mut __sk_buff = ctx.as_ptr().cast();
    let origin = metadata::origin(skb);
    let frame = Frame::new(skb);
    let endpoint = Kernel.endpoint(origin.ifindex);
    // First of all, and on every packet: nothing that a pod wrote there may get further.
    let Some(endpoint) = endpoint else {
        metadata::stamp(skb, Stamp::judged(EndpointId::NONE));
        return finish(&frame, &origin, None, Direction::Egress, UNKNOWN);
    };
    metadata::stamp(skb, Stamp::judged(endpoint.id));
    let decision = from_pod::decide(&Kernel, &frame, &origin, endpoint);
    finish(&frame, &origin, Some(endpoint), Direction::Egress, decision)
}

/// TC egress of a pod's host-side interface.
#[classifier]
fn to_pod(ctx: TcContext) -> i32 {
    let skb: *mut __sk_buff = ctx.as_ptr().cast();
    let origin = metadata::origin(skb);
    let frame = Frame::new(skb);
    let endpoint = Kernel.endpoint(origin.ifindex);
    metadata::clear_stamp(skb);
    let Some(endpoint) = endpoint else {
        return finish(&frame, &origin, None, Direction::Ingress, UNKNOWN);
    };
    let decision = to_pod::decide(&Kernel, &frame, &origin, endpoint);
    finish(
        &frame,
        &origin,
        Some(endpoint),
        Direction::Ingress,
        decision,
    )
}

/// No element of ENDPOINTS.
const UNKNOWN: Decision = Decision::of(Reason::UnknownEndpoint);

/// TC ingress of bridge ports that are not pods': a stamp from outside means nothing.
#[classifier]
fn clear_stamp(ctx: TcContext) -> i32 {
    metadata::clear_stamp(ctx.as_ptr().cast());
    TC_ACT_UNSPEC
}

/// The low 32 bits of jiffies, for the agent to learn how fast they run. Never attached.
#[classifier]
fn jiffies(_ctx: TcContext) -> i32 {
    // SAFETY: the helper has no arguments.
    unsafe { bpf_jiffies64() as i32 }
}

/// Counts and reports, and turns the decision into an action. Later programs on the interface run
/// too, whatever they are.
#[inline(always)]
fn finish(
    frame: &Frame,
    origin: &Origin,
    endpoint: Option<&Endpoint>,
    direction: Direction,
    decision: Decision,
) -> i32 {
    let decision = Decision(frame.forget(decision.0));
    report::count(direction, decision, frame.length());
    let says_everything = config!(allow_events) != 0 || config!(debug) != 0;
    if says_everything || (decision.drops() && !report::is_suppressed(endpoint)) {
        report::report(frame, origin, endpoint, direction, decision);
    }
    if decision.drops() {
        TC_ACT_SHOT
    } else {
        TC_ACT_UNSPEC
    }
}

/// Helpers that only GPL-compatible programs may call are used.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
