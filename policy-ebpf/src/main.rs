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
use policy_common::{Direction, EndpointId, Reason, names};
use policy_ebpf::{
    Decision, Judgement, Link, Stamp, Whence, from_pod,
    lookup::Policy as _,
    owed,
    packet::{Bytes as _, ethernet},
    to_pod,
};

use crate::bpf::{
    frame::{Frame, Received},
    globals::config,
    leaving::Leaving,
    maps, metadata, report,
    world::Kernel,
};

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
    if decision.is_owed() {
        metadata::stamp(
            skb,
            Stamp::owed(endpoint.map_or(EndpointId::NONE, |endpoint| endpoint.id)),
        );
    }
    finish(
        &frame,
        &Judgement {
            endpoint,
            direction: Direction::Egress,
            decision,
        },
    )
}

/// TC egress of a pod's host-side interface. What is owed is judged by a program of its own: in this one
/// the verifier would follow it once for every way through the rest.
#[classifier]
fn to_pod(ctx: TcContext) -> i32 {
    judge_to_pod(ctx, false)
}

/// The same, and no other program runs after it.
#[classifier]
fn to_pod_last(ctx: TcContext) -> i32 {
    last(judge_to_pod(ctx, true))
}

#[inline(always)]
fn judge_to_pod(ctx: TcContext, is_last: bool) -> i32 {
    let skb: *mut __sk_buff = ctx.as_ptr().cast();
    let frame = Frame::<ETHERNET>::new(skb);
    let origin = metadata::origin(skb);
    // Else the verifier would follow all that comes once for every answer.
    let whence = Whence::of(&origin, Kernel.link(origin.ingress_ifindex));
    let whence = Whence(frame.opaque(whence.0));
    if whence.is_owed() {
        metadata::note_last(skb, is_last);
        call(&ctx, names::CALL_TO_POD_OWED);
        return finish(&frame, &UNJUDGED);
    }
    let endpoint = Kernel.endpoint_at(origin.ifindex);
    // A filter behind this program may send it round, and then it comes here again.
    metadata::stamp(skb, Stamp(Stamp::HOST.0 * u16::from(whence.is_host())));
    let decision = match endpoint {
        Some(endpoint) => to_pod::decide_told(&Kernel, &frame, whence, endpoint),
        None => UNKNOWN,
    };
    finish(
        &frame,
        &Judgement {
            endpoint,
            direction: Direction::Ingress,
            decision,
        },
    )
}

/// Judges the sender's egress where its packet arrives, and calls who called it, [`to_pod`] or
/// [`to_pod_last`], if nothing is said against it.
#[classifier]
fn to_pod_owed(ctx: TcContext) -> i32 {
    let skb: *mut __sk_buff = ctx.as_ptr().cast();
    let origin = metadata::origin(skb);
    let frame = Frame::<ETHERNET>::new(skb);
    let against = owed::against(
        &Kernel,
        &frame,
        owed::way(&origin, Kernel.link(origin.ingress_ifindex)),
    );
    if against == 0 {
        metadata::stamp(skb, Stamp(origin.stamp).paid());
        if metadata::is_last(skb) {
            call(&ctx, names::CALL_TO_POD_LAST);
        } else {
            call(&ctx, names::CALL_TO_POD);
        }
        return finish(&frame, &UNJUDGED);
    }
    finish(
        &frame,
        &Judgement {
            endpoint: Kernel.source_endpoint(EndpointId((against >> 16) as u16)),
            direction: Direction::Egress,
            decision: Decision(against),
        },
    )
}

/// TC egress of the interfaces by which packets leave this node: judges what is still owed, by what the packet
/// says there, and takes the stamp off, which means nothing elsewhere.
#[classifier]
fn exit(ctx: TcContext) -> i32 {
    let skb: *mut __sk_buff = ctx.as_ptr().cast();
    let origin = metadata::origin(skb);
    let stamp = Stamp(origin.stamp);
    let link = if stamp.is_stamp() || origin.ingress_ifindex == 0 {
        Link::NONE
    } else {
        Kernel.link(origin.ingress_ifindex)
    };
    let way = owed::way(&origin, link);
    if way != 0 {
        let frame = Leaving::of(skb);
        let against = owed::against(&Kernel, &frame, way);
        if against != 0 {
            return finish(
                &frame,
                &Judgement {
                    endpoint: Kernel.source_endpoint(EndpointId((against >> 16) as u16)),
                    direction: Direction::Egress,
                    decision: Decision(against),
                },
            );
        }
    }
    if stamp.is_stamp() {
        metadata::clear_stamp(skb);
    }
    TC_ACT_UNSPEC
}

/// Goes on in another program and does not come back, unless there is none.
#[inline(always)]
fn call(ctx: &TcContext, program: u32) {
    // SAFETY: nothing is left to be dropped here.
    unsafe { maps::CALLS.tail_call(ctx, program) };
}

/// Nobody judged the packet, so that it must not pass.
const UNJUDGED: Judgement<'static> = Judgement {
    endpoint: None,
    direction: Direction::Egress,
    decision: Decision::of(Reason::Unjudged),
};

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

/// TC egress of bridges that have pods, where this host has IFBs: says of a packet that it is the host's,
/// before a filter sends it round. What says so of itself is not believed.
#[classifier]
fn stamp_host(ctx: TcContext) -> i32 {
    let skb: *mut __sk_buff = ctx.as_ptr().cast();
    let origin = metadata::origin(skb);
    let was_stamped = origin.stamp == Stamp::HOST.0;
    let link = Kernel.link(origin.ingress_ifindex);
    let was_sent_round = was_stamped && link.is_ifb(origin.ingress_ifindex);
    let stamp = if origin.is_from_host() || was_sent_round {
        Stamp::HOST
    } else if was_stamped {
        Stamp(0)
    } else {
        Stamp(origin.stamp)
    };
    metadata::stamp(skb, stamp);
    if was_sent_round {
        // From here. The filter that did so accepts it now, with its own class in the place of the stamp, if
        // it sees it.
        TC_ACT_OK
    } else {
        TC_ACT_UNSPEC
    }
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

/// Counts and reports a judgement, and turns it into an action. Later programs on the interface run too,
/// whatever they are.
#[inline(always)]
fn finish<B: Received>(frame: &B, judgement: &Judgement<'_>) -> i32 {
    let judgement = Judgement {
        decision: Decision(frame.opaque(judgement.decision.0)),
        ..*judgement
    };
    report::count(judgement.direction, judgement.decision, frame.length());
    let is_event = judgement.decision.drops() && !report::is_suppressed(judgement.id());
    if is_event || config!(debug) != 0 {
        report::report::<B>(
            frame.skb(),
            judgement.endpoint,
            judgement.direction,
            judgement.decision,
        );
    }
    if judgement.decision.drops() {
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
