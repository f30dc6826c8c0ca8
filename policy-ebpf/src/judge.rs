//! The verdict on a packet of an isolated endpoint: by its flow, else by the rules.
//!
//! Invariant: a packet passes only if its flow was allowed under the endpoint's current epoch, or
//! if the rules of the direction in which it travels allow it now.

use policy_common::{Direction, Endpoint, Flow, FlowState, IdentityId, Reason, Verdict};

use crate::{
    decision::Decision,
    family::Family,
    flow::{advance, idle, is_expired, opened_in, sender},
    lookup::{Question, Tables},
    origin::Origin,
    packet::{
        IpPacket, Segment,
        transport::{Kind, tcp},
    },
    rules::{Answer, ask, identify, is_isolated},
    track::{add, track},
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

/// What a packet that opens a flow found under its key in the flow table. Only integers: the memory
/// is lent.
#[derive(Clone, Copy, Default)]
pub(crate) struct Found<K> {
    pub(crate) key: K,
    /// The entry, where there is one.
    pub(crate) before: Flow,
    /// What the packet would make of it.
    pub(crate) flow: Flow,
    /// [`Self::PRESENT`], [`Self::LIVE`].
    pub(crate) status: u64,
}

impl<K> Found<K> {
    /// There is an entry.
    pub(crate) const PRESENT: u64 = 1;
    /// There is an entry, and its life is not over.
    pub(crate) const LIVE: u64 = 2;
}

/// [`look_up`] found that the packet may open a flow.
const MAY_OPEN: Decision = Decision(u64::MAX);

/// Judges a packet of an endpoint of which at least one direction is isolated.
#[inline(always)]
pub fn judge<F: Family, W: Tables<F>>(world: &W, case: &Case<'_, F>) -> Decision {
    let key = case.key();
    if let Some(flow) = world.known_flow(&key)
        && rides_unchanged(case, &flow, world.now(), world.hz())
    {
        return Decision::of(Reason::Flow);
    }
    world
        .lend_for_flow(|found: &mut Found<F::Key>| {
            found.key = key;
            match look_up(world, case, found) {
                MAY_OPEN => open(world, case, found),
                decision => decision,
            }
        })
        .unwrap_or(Decision::of(Reason::Malformed))
}

/// Judges by the tables. A function of its own, like the others that are not inlined: the kernel
/// gives all frames of a program 512 bytes of stack.
#[inline(never)]
fn look_up<F: Family, W: Tables<F>>(
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
        && !reopens(case)
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
        return Decision::about(Reason::Policy, answer.identity());
    }
    if !case.segment.opens() {
        // Nothing is remembered of a packet that cannot open a flow.
        return Decision::about(Reason::Allowed, answer.identity());
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
fn rides_unchanged<F>(case: &Case<'_, F>, flow: &Flow, now: u32, hz: u32) -> bool {
    const ORDINARY: u8 = tcp::FIN | tcp::SYN | tcp::RST;
    case.segment.is_tracked()
        && flow.state.epoch == case.endpoint.epoch
        && flow.state.verdict.allows()
        && flow.state.phase == FlowState::PHASE_ESTABLISHED
        && flow.state.seen == 0
        && case.segment.tcp_flags() & ORDINARY == 0
        && !reopens(case)
        && now.wrapping_sub(flow.last_seen) < hz
}

/// The packet begins a connection whatever came before.
#[inline(always)]
const fn reopens<F>(case: &Case<'_, F>) -> bool {
    case.segment.opens() && matches!(case.segment.kind(), Kind::Tcp | Kind::Sctp)
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
        Decision::about(Reason::FlowDenied, IdentityId(flow.identity))
    }
}

/// What the rules say of a connection opened in `direction`.
#[inline(always)]
fn answer<F: Family, W: Tables<F>>(
    world: &W,
    case: &Case<'_, F>,
    direction: Direction,
    is_first: bool,
) -> Answer {
    let peer = case.peer();
    let port = case.judged_port(direction);
    let question = Question {
        endpoint: case.endpoint.id,
        direction,
        protocol: case.segment.protocol(),
        port,
        peer,
    };
    let version = world.version();
    // What the endpoint says to itself depends on more than the question.
    let is_plain = peer != F::of(case.endpoint) && version != 0;
    if is_plain && let Some(answer) = world.known_answer(&question, version) {
        return answer;
    }
    let answer = consult(world, case, direction, is_first);
    if is_plain {
        world.know_answer(&question, version, answer);
    }
    answer
}

/// As [`answer`], from the tables.
#[inline(never)]
fn consult<F: Family, W: Tables<F>>(
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

/// A packet that opens a connection, and may.
#[inline(never)]
fn open<F: Family, W: Tables<F>>(
    world: &W,
    case: &Case<'_, F>,
    found: &mut Found<F::Key>,
) -> Decision {
    let identity = IdentityId(found.flow.identity);
    let passes = Decision::about(
        if is_isolated(case.endpoint, case.direction) {
            Reason::Allowed
        } else {
            Reason::NotIsolated
        },
        identity,
    );
    if identity == IdentityId::SELF {
        return passes;
    }
    if add(world, case.endpoint.id, found) {
        return passes;
    }
    found.status = 0;
    if let Some(before) = world.flow(&found.key) {
        found.before = before;
        found.status = Found::<F::Key>::PRESENT;
        if !is_expired(
            &before,
            case.segment.protocol(),
            found.flow.last_seen,
            world.hz(),
        ) {
            found.status |= Found::<F::Key>::LIVE;
        }
    }
    let live = found.before.state;
    let replaceable = live.phase == FlowState::PHASE_CLOSING || !live.verdict.allows();
    if found.status & Found::<F::Key>::LIVE != 0 && !replaceable {
        // A SYN on a connection that lives is a retransmission, or a peer that forgot it. It never
        // changes who opened the connection.
        if live.opener == found.flow.state.opener {
            found.flow.state.phase = live.phase;
            found.flow.state.seen = live.seen;
            world.update_flow(&found.key, &found.flow);
            world.know_flow(&found.key, &found.flow);
        }
        return passes;
    }
    match track(world, case.endpoint.id, found) {
        Ok(()) => passes,
        // Without an entry the answers could not come back.
        Err(reason) if needs_entry(case) => Decision::about(reason, identity),
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
