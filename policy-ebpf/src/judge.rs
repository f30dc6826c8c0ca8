//! The verdict on a packet of an isolated endpoint: by its flow, else by the rules.
//!
//! Invariant: a packet passes only if its flow was allowed under the endpoint's current epoch, or
//! if the rules of the direction in which it travels allow it now.

use policy_common::{Direction, Endpoint, Flow, FlowState, IdentityId, Reason, Verdict};

use crate::{
    decision::Decision,
    family::Family,
    flow::{advance, idle, is_expired, opened_in, sender},
    lookup::Tables,
    origin::Origin,
    packet::{
        IpPacket, Segment,
        transport::{Kind, tcp},
    },
    rules::{Answer, ask, identify, is_isolated},
    track::track,
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

/// What a packet found under its key in the flow table.
#[derive(Clone, Copy, Default)]
pub(crate) struct Found<K> {
    pub(crate) key: K,
    pub(crate) flow: Flow,
    pub(crate) now: u32,
    /// [`Self::PRESENT`], [`Self::LIVE`].
    status: u32,
}

impl<K> Found<K> {
    /// There is an entry.
    const PRESENT: u32 = 1;
    /// There is an entry, and its life is not over.
    const LIVE: u32 = 2;

    #[inline(always)]
    pub(crate) const fn is_present(&self) -> bool {
        self.status & Self::PRESENT != 0
    }

    #[inline(always)]
    const fn is_live(&self) -> bool {
        self.status & Self::LIVE != 0
    }
}

/// Judges a packet of an endpoint of which at least one direction is isolated.
#[inline(always)]
pub fn judge<F: Family, W: Tables<F>>(world: &W, case: &Case<'_, F>) -> Decision {
    let key = case.key();
    let now = world.now();
    if let Some(flow) = world.known_flow(&key)
        && rides_unchanged(case, &flow, now, world.hz())
    {
        return Decision::of(Reason::Flow);
    }
    let mut known = None;
    let mut status = 0;
    if case.segment.is_tracked()
        && let Some(flow) = world.flow(&key)
    {
        status = Found::<F::Key>::PRESENT;
        if !is_expired(&flow, case.segment.protocol(), now, world.hz()) {
            if flow.state.epoch == case.endpoint.epoch && !reopens(case) {
                return ride(world, case, &key, flow, flow.state, now);
            }
            status |= Found::<F::Key>::LIVE;
        }
        known = Some(flow);
    }
    world
        .lend_for_flow(|found: &mut Found<F::Key>| {
            found.key = key;
            found.now = now;
            found.status = status;
            if let Some(flow) = known {
                found.flow = flow;
            }
            anew(world, case, found)
        })
        .unwrap_or(Decision::of(Reason::Malformed))
}

/// Whether the packet passes by this flow and changes nothing about it: then a copy that is not older
/// than a second is as good as the entry. A verdict that changed has another epoch, and an entry that
/// was used within the last second is removed only with its endpoint, whose successor has another
/// epoch too.
#[inline(always)]
fn rides_unchanged<F>(case: &Case<'_, F>, flow: &Flow, now: u32, hz: u32) -> bool {
    const ORDINARY: u8 = tcp::FIN | tcp::SYN | tcp::RST;
    flow.state.epoch == case.endpoint.epoch
        && flow.state.verdict.allows()
        && flow.state.phase == FlowState::PHASE_ESTABLISHED
        && flow.state.seen == 0
        && case.segment.tcp_flags() & ORDINARY == 0
        && !reopens(case)
        && idle(flow, now) < hz
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

/// A packet about which no flow decides: the rules do. A function of its own, like the others that
/// are not inlined: the kernel gives all frames of a program 512 bytes of stack.
#[inline(never)]
fn anew<F: Family, W: Tables<F>>(world: &W, case: &Case<'_, F>, found: &Found<F::Key>) -> Decision {
    let is_revision = found.is_live() && !reopens(case);
    let opens = case.segment.opens();
    let direction = if is_revision {
        opened_in(&found.flow.state)
    } else {
        case.direction
    };
    if !is_revision && !opens && !is_isolated(case.endpoint, direction) {
        return Decision::of(Reason::NotIsolated);
    }
    let answer = answer(world, case, direction, !is_revision);
    if is_revision {
        revise(world, case, found, answer)
    } else if !answer.verdict().allows() {
        Decision::about(Reason::Policy, answer.identity())
    } else if opens {
        open(world, case, found, answer)
    } else {
        // Nothing is remembered of a packet that cannot open a flow.
        Decision::about(Reason::Allowed, answer.identity())
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
    found: &Found<F::Key>,
    answer: Answer,
) -> Decision {
    let before = found.flow.state;
    let flow = Flow {
        state: FlowState {
            epoch: case.endpoint.epoch,
            verdict: answer.verdict(),
            ..before
        },
        identity: answer.identity().0,
        ..found.flow
    };
    ride(world, case, &found.key, flow, before, found.now)
}

/// A packet that opens a connection, and may.
#[inline(always)]
fn open<F: Family, W: Tables<F>>(
    world: &W,
    case: &Case<'_, F>,
    found: &Found<F::Key>,
    answer: Answer,
) -> Decision {
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
                let flow = Flow { state, ..flow };
                world.update_flow(&found.key, &flow);
                world.know_flow(&found.key, &flow);
            }
            return passes;
        }
    }
    match track(world, case.endpoint.id, found, &flow) {
        Ok(()) => {
            world.know_flow(&found.key, &flow);
            passes
        }
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
