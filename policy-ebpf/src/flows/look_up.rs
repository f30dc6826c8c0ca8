//! A packet that finds its flow: it rides on it, or has it judged again; one that finds none may open
//! one.

use policy_common::{Flow, FlowState, IdentityId, Reason};

use super::{
    life::{advance, idle, is_expired, opened_in, sender},
    open::Found,
};
use crate::{
    answer::answer, case::Case, decision::Decision, family::Family, lookup::Tables,
    packet::transport::tcp, question::Answer, rules::is_isolated,
};

/// [`look_up`] found that the packet may open a flow.
pub(crate) const MAY_OPEN: Decision = Decision(u64::MAX);

/// Judges by the tables. A function of its own, like the others that are not inlined: the kernel
/// gives all frames of a program 512 bytes of stack.
#[inline(never)]
pub(crate) fn look_up<F: Family, W: Tables<F>>(
    world: &W,
    case: &Case<'_, F>,
    found: &mut Found<F::Key>,
) -> Decision {
    let now = world.now();
    // No `Option<Flow>`: registers that hold nothing are not readable to the verifier.
    let mut flow = Flow::default();
    let mut lives = false;
    // Whether a connection may begin anew does not depend on the one before.
    if case.segment.is_tracked()
        && !case.reopens()
        && let Some(entry) = world.flow(&found.key)
    {
        flow = entry;
        lives = !is_expired(&flow, case.segment.protocol(), now, world.hz());
    }
    if lives && flow.state.epoch == case.endpoint.epoch {
        return ride(world, case, &found.key, flow, flow.state, now);
    }
    let direction = if lives {
        opened_in(&flow.state)
    } else {
        case.direction
    };
    if !lives && !case.segment.opens() && !is_isolated(case.endpoint, direction) {
        return Decision::of(Reason::NotIsolated);
    }
    let answer = answer(world, case, direction, !lives);
    if lives {
        return revise(world, case, &found.key, flow, answer, now);
    }
    if !answer.verdict().allows() {
        return Decision::by_rules(Reason::Policy, answer);
    }
    if !case.segment.opens() {
        // Nothing is remembered of a packet that cannot open a flow.
        return Decision::by_rules(Reason::Allowed, answer);
    }
    found.flow = Flow {
        state: FlowState {
            epoch: case.endpoint.epoch,
            verdict: answer.verdict(),
            phase: FlowState::PHASE_NEW,
            opener: sender(case.direction),
            seen: 0,
        },
        last_seen: now,
        identity: answer.identity().0,
    };
    MAY_OPEN
}

/// Whether the packet passes by this flow and changes nothing about it: then a copy that is not older
/// than a second is as good as the entry. A verdict that changed has another epoch, and an entry that
/// was used within the last second is removed only with its endpoint, whose successor has another
/// epoch too.
#[inline(always)]
pub(crate) fn rides_unchanged<F: Family>(
    case: &Case<'_, F>,
    flow: &Flow,
    now: u32,
    hz: u32,
) -> bool {
    const ORDINARY: u8 = tcp::FIN | tcp::SYN | tcp::RST;
    case.segment.is_tracked()
        && flow.state.epoch == case.endpoint.epoch
        && flow.state.verdict.allows()
        && flow.state.phase == FlowState::PHASE_ESTABLISHED
        && flow.state.seen == 0
        && case.segment.tcp_flags() & ORDINARY == 0
        && !case.reopens()
        && now.wrapping_sub(flow.last_seen) < hz
}

/// A packet of a live flow whose verdict is current; `before` is what the table holds.
#[inline(always)]
fn ride<F: Family, W: Tables<F>>(
    world: &W,
    case: &Case<'_, F>,
    key: &F::Key,
    mut flow: Flow,
    before: FlowState,
    now: u32,
) -> Decision {
    let passes = flow.state.verdict.allows();
    let mut is_due = false;
    // A tombstone does not live longer because of packets that it stops.
    if passes {
        flow.state = advance(flow.state, case.direction, case.segment);
        is_due = idle(&flow, now) >= world.hz();
    }
    if is_due || flow.state != before {
        if passes {
            flow.last_seen = now;
        }
        world.update_flow(key, &flow);
    }
    world.know_flow(key, &flow);
    if passes {
        Decision::of(Reason::Flow)
    } else {
        Decision::by_rules(
            Reason::FlowDenied,
            Answer::new(flow.state.verdict, IdentityId(flow.identity)),
        )
    }
}

/// After a change a flow is judged again in the direction in which it was opened; one that is
/// forbidden now stays as a tombstone, so that the other side's next packet does not open it in
/// reverse.
#[inline(always)]
fn revise<F: Family, W: Tables<F>>(
    world: &W,
    case: &Case<'_, F>,
    key: &F::Key,
    flow: Flow,
    answer: Answer,
    now: u32,
) -> Decision {
    let before = flow.state;
    let flow = Flow {
        state: FlowState {
            epoch: case.endpoint.epoch,
            verdict: answer.verdict(),
            ..before
        },
        identity: answer.identity().0,
        ..flow
    };
    ride(world, case, key, flow, before, now)
}
