//! The verdict on a packet of an isolated endpoint: by its flow, else by the rules.
//!
//! Invariant: a packet passes only if its flow was allowed under the endpoint's current epoch, or
//! if the rules of the direction in which it travels allow it now.

use policy_common::{Direction, Endpoint, Flow, FlowState, IdentityId, Reason, Recent, Verdict};

use crate::{
    decision::Decision,
    family::Family,
    flow::{advance, is_expired, opened_in, sender},
    lookup::{Full, Tables},
    origin::Origin,
    packet::{IpPacket, Segment, transport::Kind},
    rules::{Answer, ask, identify, is_isolated},
};

/// One packet at one endpoint's hook.
pub struct Case<'a, F> {
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// Where the packet goes, from the pod's side.
    pub direction: Direction,
    /// Where it came from.
    pub origin: &'a Origin,
    /// Its addresses.
    pub packet: &'a IpPacket<F>,
    /// Its transport header.
    pub segment: Segment,
}

impl<F: Family> Case<'_, F> {
    #[inline(always)]
    fn peer(&self) -> F {
        match self.direction {
            Direction::Ingress => self.packet.source,
            Direction::Egress => self.packet.destination,
        }
    }

    #[inline(always)]
    fn key(&self) -> F::Key {
        let (source_port, destination_port) = self.segment.flow_ports();
        let source = (self.packet.source, source_port);
        let destination = (self.packet.destination, destination_port);
        let (pod, peer) = match self.direction {
            Direction::Ingress => (destination, source),
            Direction::Egress => (source, destination),
        };
        F::key(self.endpoint.id, self.segment.protocol(), pod, peer)
    }

    /// The port that the rules judge for a connection opened in `direction`, host byte order.
    #[inline(always)]
    fn judged_port(&self, direction: Direction) -> Option<u16> {
        if !self.segment.has_ports() {
            return None;
        }
        Some(u16::from_be_bytes(if direction == self.direction {
            self.segment.destination_port()
        } else {
            self.segment.source_port()
        }))
    }
}

/// What a packet found under its key in the flow table. Only integers: the memory is lent.
#[derive(Clone, Copy, Default)]
struct Found<K> {
    key: K,
    flow: Flow,
    now: u32,
    /// [`Self::PRESENT`], [`Self::LIVE`].
    status: u32,
}

impl<K> Found<K> {
    /// There is an entry.
    const PRESENT: u32 = 1;
    /// There is an entry, and its life is not over.
    const LIVE: u32 = 2;

    #[inline(always)]
    const fn is_present(&self) -> bool {
        self.status & Self::PRESENT != 0
    }

    #[inline(always)]
    const fn is_live(&self) -> bool {
        self.status & Self::LIVE != 0
    }
}

/// [`consult`] found no flow that decides, and the packet may open one.
const MAY_OPEN: Decision = Decision(u64::MAX);

/// Judges a packet of an endpoint of which at least one direction is isolated.
#[inline(always)]
pub fn judge<F: Family, W: Tables<F>>(world: &W, case: &Case<'_, F>) -> Decision {
    world
        .lend_for_flow(
            |found: &mut Found<F::Key>| match consult(world, case, found) {
                MAY_OPEN => open(world, case, found),
                decision => decision,
            },
        )
        .unwrap_or(Decision::of(Reason::Malformed))
}

/// The flow's verdict, if there is a flow.
#[inline(never)]
fn consult<F: Family, W: Tables<F>>(
    world: &W,
    case: &Case<'_, F>,
    found: &mut Found<F::Key>,
) -> Decision {
    if !case.segment.is_tracked() {
        return stray(world, case);
    }
    let hz = world.hz();
    found.key = case.key();
    found.now = world.now();
    found.status = 0;
    if let Some(flow) = world.flow(&found.key) {
        found.flow = flow;
        found.status = Found::<F::Key>::PRESENT;
        if !is_expired(&flow, case.segment.protocol(), found.now, hz) {
            found.status |= Found::<F::Key>::LIVE;
        }
    }
    let reopens = case.segment.opens() && matches!(case.segment.kind(), Kind::Tcp | Kind::Sctp);
    if found.is_live() && !reopens {
        ride(world, case, found, hz)
    } else if case.segment.opens() {
        MAY_OPEN
    } else {
        stray(world, case)
    }
}

/// A packet without a flow that cannot open one: the rules of its direction, nothing remembered.
#[inline(always)]
fn stray<F: Family, W: Tables<F>>(world: &W, case: &Case<'_, F>) -> Decision {
    if !is_isolated(case.endpoint, case.direction) {
        return Decision::of(Reason::NotIsolated);
    }
    let answer = answer(world, case, case.direction, true);
    Decision::about(
        if answer.verdict().allows() {
            Reason::Allowed
        } else {
            Reason::Policy
        },
        answer.identity(),
    )
}

/// What the rules say of a connection opened in `direction`. A function of its own, like the others
/// that are not inlined here: the kernel gives all frames of a program 512 bytes of stack.
#[inline(never)]
fn answer<F: Family, W: Tables<F>>(
    world: &W,
    case: &Case<'_, F>,
    direction: Direction,
    is_first: bool,
) -> Answer {
    let origin = is_first.then_some(case.origin);
    let identity = identify(world, case.endpoint, direction, origin, case.peer());
    if !is_isolated(case.endpoint, direction) {
        return Answer::new(Verdict::ALLOW, identity);
    }
    ask(
        world,
        case.endpoint,
        direction,
        identity,
        case.segment.protocol(),
        case.judged_port(direction),
    )
}

/// A packet of a live flow. After a change the flow is judged again in the direction in which it
/// was opened; one that is forbidden now stays as a tombstone, so that the other side's next packet
/// does not open it in reverse.
#[inline(always)]
fn ride<F: Family, W: Tables<F>>(
    world: &W,
    case: &Case<'_, F>,
    found: &mut Found<F::Key>,
    hz: u32,
) -> Decision {
    let flow = &mut found.flow;
    let before = flow.state;
    if before.epoch != case.endpoint.epoch {
        let revised = answer(world, case, opened_in(&before), false);
        flow.state.verdict = revised.verdict();
        flow.state.epoch = case.endpoint.epoch;
        flow.identity = revised.identity().0;
    }
    let passes = flow.state.verdict.allows();
    let mut changed = false;
    if passes {
        flow.state = advance(flow.state, case.direction, case.segment);
        let idle = found.now.wrapping_sub(flow.last_seen);
        changed = idle >= hz && idle < u32::MAX / 2;
    }
    changed |= flow.state != before;
    if changed {
        // A tombstone does not live longer because of packets that it stops.
        if passes {
            flow.last_seen = found.now;
        }
        world.update_flow(&found.key, flow);
    }
    if passes {
        Decision::of(Reason::Flow)
    } else {
        Decision::about(Reason::FlowDenied, IdentityId(flow.identity))
    }
}

/// A packet that may open a connection.
#[inline(never)]
fn open<F: Family, W: Tables<F>>(world: &W, case: &Case<'_, F>, found: &Found<F::Key>) -> Decision {
    let answer = answer(world, case, case.direction, true);
    if !answer.verdict().allows() {
        return Decision::about(Reason::Policy, answer.identity());
    }
    let passes = Decision::about(
        if is_isolated(case.endpoint, case.direction) {
            Reason::Allowed
        } else {
            Reason::NotIsolated
        },
        answer.identity(),
    );
    if answer.identity() == IdentityId::SELF {
        return passes;
    }
    let opener = sender(case.direction);
    let flow = Flow {
        state: FlowState {
            epoch: case.endpoint.epoch,
            verdict: answer.verdict(),
            phase: FlowState::PHASE_NEW,
            opener,
            seen: 0,
        },
        last_seen: found.now,
        identity: answer.identity().0,
    };
    if found.is_live() {
        let live = &found.flow;
        let replaceable =
            live.state.phase == FlowState::PHASE_CLOSING || !live.state.verdict.allows();
        // A SYN on a connection that lives is a retransmission, or a peer that forgot it. It never
        // changes who opened the connection.
        if !replaceable {
            if live.state.opener == opener {
                let state = FlowState {
                    phase: live.state.phase,
                    seen: live.state.seen,
                    ..flow.state
                };
                world.update_flow(&found.key, &Flow { state, ..flow });
            }
            return passes;
        }
    }
    match track(world, case, found, &flow) {
        Ok(()) => passes,
        // Without an entry the answers could not come back.
        Err(reason) if needs_entry(case) => Decision::about(reason, answer.identity()),
        Err(_) => passes,
    }
}

/// Whether a packet that may open a flow is in vain without one: the other direction is isolated. A
/// packet in an open direction may be an answer itself, where every packet may open a flow.
#[inline(always)]
const fn needs_entry<F>(case: &Case<'_, F>) -> bool {
    is_isolated(case.endpoint, reverse(case.direction))
        && (is_isolated(case.endpoint, case.direction)
            || matches!(case.segment.kind(), Kind::Tcp | Kind::Sctp | Kind::Icmp))
}

#[inline(always)]
const fn reverse(direction: Direction) -> Direction {
    match direction {
        Direction::Ingress => Direction::Egress,
        Direction::Egress => Direction::Ingress,
    }
}

/// Writes the entry of a new flow and counts it.
#[inline(always)]
fn track<F: Family, W: Tables<F>>(
    world: &W,
    case: &Case<'_, F>,
    found: &Found<F::Key>,
    flow: &Flow,
) -> Result<(), Reason> {
    let id = case.endpoint.id;
    let opener = flow.state.opener;
    let mut remembers = false;
    if found.is_present() {
        let before = found.flow.state.opener;
        if before != opener {
            world.count_flow(id, before, false);
            world.count_flow(id, opener, true);
        }
    } else {
        let limit = u64::from(world.flow_limit(opener));
        let count = world.flow_count(id, opener);
        remembers = count >= limit / 2;
        if count >= limit && !make_room(world, case, opener) {
            return Err(Reason::FlowLimit);
        }
    }
    world
        .insert_flow(&found.key, flow)
        .map_err(|Full| Reason::FlowTableFull)?;
    if !found.is_present() {
        world.count_flow(id, opener, true);
    }
    if remembers {
        remember(world, case, &found.key, opener);
    }
    Ok(())
}

/// An unanswered flow of an endpoint at its limit gives way to a new one of the same side.
#[inline(never)]
fn make_room<F: Family, W: Tables<F>>(world: &W, case: &Case<'_, F>, opener: u8) -> bool {
    let Some(recent) = world.take_recent(case.endpoint.id) else {
        return false;
    };
    let gives_way = world.give_way(&recent, opener);
    if gives_way {
        world.count_flow(case.endpoint.id, opener, false);
    } else {
        // This one stays: the next attempt asks the one after it.
        world.skip_recent(case.endpoint.id);
    }
    gives_way
}

/// Removes the flow if it is one of this family, unanswered, and opened by this side.
#[inline(always)]
pub fn give_way<F: Family, W: Tables<F>>(world: &W, recent: &Recent, opener: u8) -> bool {
    F::recall(recent).is_some_and(|key| {
        let is_unanswered = world.flow(&key).is_some_and(|flow| {
            flow.state.phase == FlowState::PHASE_NEW && flow.state.opener == opener
        });
        is_unanswered && world.remove_flow(&key)
    })
}

/// Puts a flow into the list of those that may give way.
#[inline(never)]
fn remember<F: Family, W: Tables<F>>(
    world: &W,
    case: &Case<'_, F>,
    key: &F::Key,
    opener: u8,
) -> bool {
    world.put_recent(case.endpoint.id, |recent| F::remember(key, opener, recent))
}
