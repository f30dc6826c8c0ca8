//! The verdict on a packet of an isolated endpoint: by its flow, else by the rules.
//!
//! Invariant: a packet passes only if its flow was allowed under the endpoint's current epoch, or
//! if the rules of the direction in which it travels allow it now.

use policy_common::{Direction, Endpoint, Flow, FlowState, IdentityId, Reason, RulesetId, Verdict};

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
    pub segment: &'a Segment,
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
        F::key(self.endpoint.id, self.segment.protocol, pod, peer)
    }

    /// The port that the rules judge for a connection opened in `direction`, host byte order.
    #[inline(always)]
    fn judged_port(&self, direction: Direction) -> Option<u16> {
        if !self.segment.has_ports() {
            return None;
        }
        Some(u16::from_be_bytes(if direction == self.direction {
            self.segment.destination_port
        } else {
            self.segment.source_port
        }))
    }
}

/// Judges a packet of an endpoint of which at least one direction is isolated.
#[inline(always)]
pub fn judge<F: Family, W: Tables<F>>(world: &W, case: &Case<'_, F>) -> Decision {
    if !case.segment.is_tracked() {
        return stray(world, case);
    }
    let key = case.key();
    let now = world.now();
    let hz = world.config().hz;
    let present = world.flow(&key);
    let live = match present {
        Some(flow) if !is_expired(&flow, case.segment.protocol, now, hz) => Some(flow),
        _ => None,
    };
    let reopens = case.segment.opens && matches!(case.segment.kind, Kind::Tcp | Kind::Sctp);
    match live {
        Some(flow) if !reopens => ride(world, case, &key, &flow, now, hz),
        _ if !case.segment.opens => stray(world, case),
        _ => open(world, case, &key, present, live, now),
    }
}

/// A packet without a flow that cannot open one: the rules of its direction, nothing remembered.
#[inline(always)]
fn stray<F: Family, W: Tables<F>>(world: &W, case: &Case<'_, F>) -> Decision {
    if !is_isolated(case.endpoint, case.direction) {
        return Decision::of(Reason::NotIsolated);
    }
    let answer = answer(world, case, case.direction, Some(case.origin));
    Decision::ruled(
        if answer.verdict.allows() {
            Reason::Allowed
        } else {
            Reason::Policy
        },
        &answer,
    )
}

/// What the rules say of a connection opened in `direction`.
#[inline(always)]
fn answer<F: Family, W: Tables<F>>(
    world: &W,
    case: &Case<'_, F>,
    direction: Direction,
    origin: Option<&Origin>,
) -> Answer {
    let identity = identify(world, case.endpoint, direction, origin, case.peer());
    if !is_isolated(case.endpoint, direction) {
        return Answer {
            verdict: Verdict::ALLOW,
            identity,
            ruleset: RulesetId::NONE,
        };
    }
    ask(
        world,
        case.endpoint,
        direction,
        identity,
        case.segment.protocol,
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
    key: &F::Key,
    flow: &Flow,
    now: u32,
    hz: u32,
) -> Decision {
    let mut state = flow.state;
    let mut identity = flow.identity;
    if state.epoch != case.endpoint.epoch {
        let revised = answer(world, case, opened_in(&state), None);
        state.verdict = revised.verdict;
        state.epoch = case.endpoint.epoch;
        identity = revised.identity.0;
    }
    if !state.verdict.allows() {
        if state != flow.state {
            let tombstone = Flow {
                state,
                last_seen: flow.last_seen,
                identity,
            };
            world.update_flow(key, &tombstone);
        }
        return Decision {
            reason: Reason::FlowDenied,
            identity: IdentityId(identity),
            ruleset: match opened_in(&state) {
                Direction::Ingress => case.endpoint.ingress.ruleset,
                Direction::Egress => case.endpoint.egress.ruleset,
            },
        };
    }
    let next = advance(state, case.direction, case.segment);
    let idle = now.wrapping_sub(flow.last_seen);
    if next != flow.state || (idle >= hz && idle < u32::MAX / 2) {
        let seen = Flow {
            state: next,
            last_seen: now,
            identity,
        };
        world.update_flow(key, &seen);
    }
    Decision::of(Reason::Flow)
}

/// A packet that may open a connection.
#[inline(always)]
fn open<F: Family, W: Tables<F>>(
    world: &W,
    case: &Case<'_, F>,
    key: &F::Key,
    present: Option<Flow>,
    live: Option<Flow>,
    now: u32,
) -> Decision {
    let answer = answer(world, case, case.direction, Some(case.origin));
    if !answer.verdict.allows() {
        return Decision::ruled(Reason::Policy, &answer);
    }
    let passes = Decision::ruled(
        if is_isolated(case.endpoint, case.direction) {
            Reason::Allowed
        } else {
            Reason::NotIsolated
        },
        &answer,
    );
    if answer.identity == IdentityId::SELF {
        return passes;
    }
    let opener = sender(case.direction);
    let flow = Flow {
        state: FlowState {
            epoch: case.endpoint.epoch,
            verdict: answer.verdict,
            phase: FlowState::PHASE_NEW,
            opener,
            seen: 0,
        },
        last_seen: now,
        identity: answer.identity.0,
    };
    if let Some(live) = live {
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
                world.update_flow(key, &Flow { state, ..flow });
            }
            return passes;
        }
    }
    match track(world, case, key, present, &flow) {
        Ok(()) => passes,
        // Without an entry the answers could not come back.
        Err(reason) if is_isolated(case.endpoint, reverse(case.direction)) => {
            Decision::ruled(reason, &answer)
        }
        Err(_) => passes,
    }
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
    key: &F::Key,
    present: Option<Flow>,
    flow: &Flow,
) -> Result<(), Reason> {
    let id = case.endpoint.id;
    let opener = flow.state.opener;
    let mut remembers = false;
    match present {
        Some(old) => {
            if old.state.opener != opener {
                world.count_flow(id, old.state.opener, false);
                world.count_flow(id, opener, true);
            }
        }
        None => {
            let limit = match opener {
                FlowState::OPENED_BY_POD => world.config().pod_opened_limit,
                _ => world.config().peer_opened_limit,
            };
            let count = world.flow_count(id, opener);
            remembers = count >= limit / 2;
            if count >= limit && !make_room(world, case, opener) {
                return Err(Reason::FlowLimit);
            }
        }
    }
    world
        .insert_flow(key, flow)
        .map_err(|Full| Reason::FlowTableFull)?;
    if present.is_none() {
        world.count_flow(id, opener, true);
    }
    if remembers {
        world.put_recent(id, &F::remember(key, opener));
    }
    Ok(())
}

/// An unanswered flow of an endpoint at its limit gives way to a new one of the same side.
#[inline(always)]
fn make_room<F: Family, W: Tables<F>>(world: &W, case: &Case<'_, F>, opener: u8) -> bool {
    let Some(recent) = world.take_recent(case.endpoint.id) else {
        return false;
    };
    let Some(key) = F::recall(&recent) else {
        return false;
    };
    match world.flow(&key) {
        Some(flow)
            if flow.state.phase == FlowState::PHASE_NEW
                && flow.state.opener == opener
                && world.remove_flow(&key) =>
        {
            world.count_flow(case.endpoint.id, opener, false);
            true
        }
        _ => false,
    }
}
