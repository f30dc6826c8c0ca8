//! The TC programs: one decision each, turned into an action.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(unsafe_code, reason = "the binding to the kernel, in `bpf`")]
#![deny(clippy::wildcard_enum_match_arm)]

mod bpf;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{__sk_buff, TC_ACT_OK, TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::generated::bpf_jiffies64,
    macros::classifier,
    programs::TcContext,
};
use policy_common::{Direction, EndpointId, Reason};
use policy_ebpf::{
    Decision, Judgement, Origin, Stamp, from_pod,
    judgement::drops,
    lookup::Policy as _,
    packet::{Bytes as _, ethernet},
    to_pod,
};

use crate::bpf::{frame::Frame, globals::config, metadata, report, world::Kernel};

/// TC ingress of a pod's host-side interface.
#[classifier]
fn from_pod(ctx: TcContext) -> i32 {
    judge_from_pod(ctx)
}

/// The same, and no other program runs after it: stands for a moment as a link before a filter of the
/// same program, so that a packet is judged and counted once.
#[classifier]
fn from_pod_last(ctx: TcContext) -> i32 {
    last(judge_from_pod(ctx))
}

#[inline(always)]
fn judge_from_pod(ctx: TcContext) -> i32 {
    let skb: *mut __sk_buff = ctx.as_ptr().cast();
    let origin = metadata::origin(skb);
    let frame = Frame::<ETHERNET>::new(skb);
    let endpoint = Kernel.endpoint_at(origin.ifindex);
    // First of all, and on every packet: nothing that a pod wrote there may get further.
    metadata::stamp(
        skb,
        Stamp::judged(endpoint.map_or(EndpointId::NONE, |endpoint| endpoint.id)),
    );
    let decision = match endpoint {
        Some(endpoint) => from_pod::decide(&Kernel, &frame, &origin, endpoint),
        None => UNKNOWN,
    };
    finish(
        &frame,
        &origin,
        [Judgement {
            endpoint,
            direction: Direction::Egress,
            decision,
        }],
    )
}

/// TC egress of a pod's host-side interface.
#[classifier]
fn to_pod(ctx: TcContext) -> i32 {
    judge_to_pod(ctx)
}

/// The same, and no other program runs after it.
#[classifier]
fn to_pod_last(ctx: TcContext) -> i32 {
    last(judge_to_pod(ctx))
}

#[inline(always)]
fn judge_to_pod(ctx: TcContext) -> i32 {
    let skb: *mut __sk_buff = ctx.as_ptr().cast();
    let origin = metadata::origin(skb);
    let frame = Frame::<ETHERNET>::new(skb);
    let endpoint = Kernel.endpoint_at(origin.ifindex);
    metadata::clear_stamp(skb);
    let decision = match endpoint {
        Some(endpoint) => to_pod::decide(&Kernel, &frame, &origin, endpoint),
        None => UNKNOWN,
    };
    finish(
        &frame,
        &origin,
        [Judgement {
            endpoint,
            direction: Direction::Ingress,
            decision,
        }],
    )
}

/// Bytes of the link header of pods' interfaces.
const ETHERNET: usize = ethernet::HEADER_LEN;
/// No element of INTERFACES.
const UNKNOWN: Decision = Decision::of(Reason::UnknownEndpoint);

/// TC ingress of bridge ports that are not pods': a stamp from outside means nothing.
#[classifier]
fn clear_stamp(ctx: TcContext) -> i32 {
    metadata::clear_stamp(ctx.as_ptr().cast());
    TC_ACT_UNSPEC
}

/// Half of jiffies, for the agent: the low 32 bits to a frame of even length, the high ones to one of odd
/// length. Never attached.
#[classifier]
fn jiffies(ctx: TcContext) -> i32 {
    // SAFETY: the helper has no arguments.
    let now = unsafe { bpf_jiffies64() };
    let half = if ctx.len() & 1 == 0 { now } else { now >> 32 };
    half as i32
}

/// What passes is accepted, which ends the chain; the kernel then takes the stamp from the class, where
/// it stands too.
#[inline(always)]
fn last(action: i32) -> i32 {
    if action == TC_ACT_UNSPEC {
        TC_ACT_OK
    } else {
        action
    }
}

/// Counts and reports each judgement, and turns them into an action. Later programs on the interface
/// run too, whatever they are.
#[inline(always)]
fn finish<const LINK: usize, const COUNT: usize>(
    frame: &Frame<LINK>,
    origin: &Origin,
    judgements: [Judgement<'_>; COUNT],
) -> i32 {
    let judgements = judgements.map(|judgement| Judgement {
        decision: Decision(frame.forget(judgement.decision.0)),
        ..judgement
    });
    for judgement in &judgements {
        report::count(judgement.direction, judgement.decision, frame.length());
        let is_event = judgement.decision.drops() && !report::is_suppressed(judgement.id());
        if is_event || config!(debug) != 0 {
            report::report(frame, origin, judgement);
        }
    }
    if drops(&judgements) {
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
