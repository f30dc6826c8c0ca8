//! A packet that finds its flow: it rides on it, or has it judged again; one that finds none may open
//! one.

use policy_common::{Flow, FlowState, IdentityId, Reason, Verdict};

use super::{
    life::{idle, is_expired, opened_in, sender},
    open::Found,
};
use crate::{
    answer::answer, case::Case, decision::Decision, family::Family, lookup::Tables, packet::Bytes,
    question::Answer, rules::is_isolated, steps::Steps,
};

/// [`look_up`] found that the packet may open a flow.
pub(crate) const MAY_OPEN: Decision = Decision(u64::MAX);

/// Judges by the tables. A function of its own, like the others that are not inlined: the kernel
/// gives all frames of a program 512 bytes of stack.
#[inline(never)]
pub(crate) fn look_up<F: Family, W: Tables<F>, B: Steps + ?Sized>(
    world: &W,
    case: &Case<'_, F, B>,
    found: &mut Found<F::Key>,
) -> Decision {
    let now = world.now();
    // No `Option<Flow>`: registers that hold nothing are not readable to the verifier.
    let mut state = FlowState::default();
    let mut lives = false;
    // Whether a connection may begin anew does not depend on the one before.
    if case.segment.is_tracked()
        && !case.reopens()
        && let Some(entry) = world.flow(&found.key)
    {
        // Most packets of flows that this processor does not remember: nothing is copied for them.
        if rides_unchanged(case, &entry.state, entry.last_seen, now, world.hz()) {
            world.know_flow(&found.key, &entry);
            return Decision::by_flow(entry.state.verdict);
        }
        lives = !is_expired(&entry, case.segment.protocol(), now, world.hz());
        state = entry.state;
        found.before = entry;
        found.flow = entry;
    }
    if lives && state.epoch == case.endpoint.epoch {
        return ride(world, case, found, now);
    }
    let direction = if lives {
        opened_in(&state)
    } else {
        case.direction
    };
    if !lives && !case.segment.opens() && !is_isolated(case.endpoint, direction) {
        return Decision::of(Reason::NotIsolated);
    }
    let answer = answer(world, case, direction, !lives);
    if lives {
        return revise(world, case, found, answer, now);
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
        ..Flow::default()
    };
    MAY_OPEN
}

/// Whether the packet passes by this flow and changes nothing about it: then a copy that is not older
/// than a second is as good as the entry. A verdict that changed has another epoch, and an entry that
/// was used within the last second is removed only with its endpoint, whose successor has another
/// epoch too.
#[inline(always)]
pub(crate) fn rides_unchanged<F: Family, B: Bytes + ?Sized>(
    case: &Case<'_, F, B>,
    state: &FlowState,
    last_seen: u64,
    now: u64,
    hz: u32,
) -> bool {
    case.segment.travels()
        && stands(state, case.endpoint.epoch)
        && now.wrapping_sub(last_seen) < u64::from(hz)
}

/// Whether a flow allows what travels on it and is established under this epoch, and nothing else was seen of
/// it. All in one comparison, since most packets ask this.
#[inline(always)]
fn stands(state: &FlowState, epoch: u32) -> bool {
    const STANDING: u8 = FlowState::SEEN_ANSWER | FlowState::SEEN_CONFIRMATION;
    let asked = FlowState {
        epoch: u32::MAX,
        verdict: Verdict(Verdict::ACTION),
        phase: u8::MAX,
        opener: 0,
        seen: !STANDING,
    };
    let wanted = FlowState {
        epoch,
        verdict: Verdict::ALLOW,
        phase: FlowState::PHASE_ESTABLISHED,
        opener: 0,
        seen: 0,
    };
    let [state, asked, wanted]: [u64; 3] = [*state, asked, wanted].map(bytemuck::cast);
    (state ^ wanted) & asked == 0
}

/// A packet of a live flow whose verdict is current: `found.before` is what the table holds.
#[inline(always)]
fn ride<F: Family, W: Tables<F>, B: Steps + ?Sized>(
    world: &W,
    case: &Case<'_, F, B>,
    found: &mut Found<F::Key>,
    now: u64,
) -> Decision {
    let passes = found.flow.state.verdict.allows();
    // A tombstone does not live longer because of packets that it stops.
    if passes {
        let is_due = idle(&found.flow, now) >= u64::from(world.hz());
        case.step(&mut found.flow, is_due);
        if is_due || found.is_changed() {
            found.flow.last_seen = now;
        }
    }
    if found.is_changed() {
        world.update_flow(&found.key, &found.flow);
    }
    world.know_flow(&found.key, &found.flow);
    if passes {
        Decision::by_flow(found.flow.state.verdict)
    } else {
        Decision::by_rules(
            Reason::FlowDenied,
            Answer::new(found.flow.state.verdict, IdentityId(found.flow.identity)),
        )
    }
}

/// After a change a flow is judged again in the direction in which it was opened; one that is
/// forbidden now stays as a tombstone, so that the other side's next packet does not open it in
/// reverse.
#[inline(always)]
fn revise<F: Family, W: Tables<F>, B: Steps + ?Sized>(
    world: &W,
    case: &Case<'_, F, B>,
    found: &mut Found<F::Key>,
    answer: Answer,
    now: u64,
) -> Decision {
    found.flow.state.epoch = case.endpoint.epoch;
    found.flow.state.verdict = answer.verdict();
    found.flow.identity = answer.identity().0;
    ride(world, case, found, now)
}
