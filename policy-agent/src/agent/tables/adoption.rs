//! Connections that were open before their pod's first policy.
//!
//! Owns whose connections are taken over, when, and what of a tracked connection becomes a flow; the rules
//! judge it when its next packet comes. Invariants: a pod that comes while the agent runs, perhaps with the
//! address of one before, takes over nothing, and one that came while none ran no datagrams, unless it is the
//! first run; what may have been opened by either side is left to the rules of both directions, which need no
//! flow for what both allow.
//!
//! The kernel's connection tracking is asked twice: before the first write that isolates a pod, so that no
//! packet of what is open misses its flow, and once more afterwards, for what began in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use policy_common::{Endpoint, EndpointId, FlowState};
use policy_core::plan::{EndpointEntry, Op};

use super::{Reply, Worker};
use crate::{
    agent::causes,
    datapath::OpenFlow,
    netlink::conntrack::{self, Progress, Tracked},
};

/// Between two walks of the kernel's table lies so many times what one took.
const WALK_SHARE: u32 = 10;
/// For how long the kernel remembers a datagram's ends, and some more: so long an address may still have
/// those of another pod.
const FORGOTTEN: Duration = Duration::from_secs(180);

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

/// Whose connections are to be taken over.
#[derive(Default)]
pub(super) struct Adoption {
    standing: BTreeMap<EndpointId, Standing>,
    /// Isolated since the start of this run, and not before.
    starting: BTreeSet<EndpointId>,
    /// Whoever waits for the next walk.
    waiting: BTreeSet<EndpointId>,
    next_walk: Option<Instant>,
    /// What kept the last walk from being complete.
    failure: Option<String>,
}

/// An endpoint as it was last written.
struct Standing {
    pod: u64,
    addresses: Vec<IpAddr>,
    is_isolated: bool,
    is_known: bool,
    /// Since when it is this pod's, if that is new.
    since: Option<Instant>,
}

impl Standing {
    fn of(entry: &EndpointEntry, since: Option<Instant>) -> Self {
        Self {
            pod: entry.pod_tag,
            addresses: entry.addresses.clone(),
            is_isolated: entry.ingress.is_some() || entry.egress.is_some(),
            is_known: !entry.unknown,
            since,
        }
    }

    /// Whether datagrams that the kernel remembers cannot be those of another pod.
    fn is_old(&self, now: Instant) -> bool {
        self.since
            .is_none_or(|since| now.duration_since(since) > FORGOTTEN)
    }
}

impl Adoption {
    /// What the run before left, and what this one begins with: `true` if pods become isolated by it that
    /// were not.
    pub(super) fn begin(&mut self, earlier: &[Endpoint], wanted: &[Op], now: Instant) -> bool {
        let before: BTreeMap<_, _> = earlier.iter().map(|one| (one.id, one)).collect();
        for entry in last_entries(wanted).into_values() {
            let same = before
                .get(&entry.id)
                .filter(|one| one.pod_tag == entry.pod_tag);
            // A first run knows of no pod how old it is, nor that any of them came since.
            let is_new = same.is_none() && !earlier.is_empty();
            let standing = Standing::of(entry, is_new.then_some(now));
            let was_isolated = same.is_some_and(|one| one.is_isolated());
            if standing.is_isolated && standing.is_known && !was_isolated {
                self.starting.insert(entry.id);
            }
            self.standing.insert(entry.id, standing);
        }
        self.waiting.clone_from(&self.starting);
        !self.waiting.is_empty()
    }

    /// Takes in what is about to be written: `true` if pods become isolated by it that were not.
    pub(super) fn foresee(&mut self, ops: &[Op], now: Instant) -> bool {
        for op in ops {
            if let Op::DeleteEndpoint { id, .. } = op {
                self.forget(*id);
            }
        }
        let mut is_any = false;
        for entry in last_entries(ops).into_values() {
            let before = self
                .standing
                .get(&entry.id)
                .filter(|one| one.pod == entry.pod_tag);
            let since = before.map_or(Some(now), |before| before.since);
            let was_free = before.is_some_and(|before| before.is_known && !before.is_isolated);
            let standing = Standing::of(entry, since);
            if was_free && standing.is_isolated && standing.is_known {
                is_any |= self.waiting.insert(entry.id);
            }
            self.standing.insert(entry.id, standing);
        }
        is_any
    }

    /// As [`Self::foresee`], where all that is wanted is written.
    pub(super) fn foresee_all(&mut self, wanted: &[Op], now: Instant) -> bool {
        let all = last_entries(wanted);
        let gone: Vec<_> = self
            .standing
            .keys()
            .filter(|id| !all.contains_key(id))
            .copied()
            .collect();
        gone.into_iter().for_each(|id| self.forget(id));
        self.foresee(wanted, now)
    }

    fn forget(&mut self, id: EndpointId) {
        self.standing.remove(&id);
        self.starting.remove(&id);
        self.waiting.remove(&id);
    }

    /// A program stands at its interface now: what began before is to be looked for once more.
    pub(super) fn attached(&mut self, endpoint: EndpointId) {
        if self.starting.contains(&endpoint) {
            self.waiting.insert(endpoint);
        }
    }

    /// How many endpoints wait for the next walk.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// When the next walk is due.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        (!self.waiting.is_empty()).then(|| self.next_walk.map_or(now, |next| next.max(now)))
    }

    /// What of a tracked connection is a flow of whoever waits.
    fn flows<'a>(
        &'a self,
        tracked: &'a [Tracked],
        now: Instant,
    ) -> impl Iterator<Item = OpenFlow> + 'a {
        let owners = self.owners();
        tracked.iter().flat_map(move |one| {
            let of = |end: SocketAddr| {
                let id = *owners.get(&end.ip())?;
                let standing = self.standing.get(&id)?;
                (one.protocol != UDP || standing.is_old(now)).then_some(id)
            };
            let opened = of(one.original.source).map(|id| as_opener(id, one));
            let answered = of(one.reply.source).map(|id| as_answerer(id, one));
            opened.into_iter().chain(answered)
        })
    }

    fn owners(&self) -> BTreeMap<IpAddr, EndpointId> {
        let mut owners = BTreeMap::new();
        for id in &self.waiting {
            let standing = self.standing.get(id);
            let addresses = standing.map(|one| one.addresses.as_slice());
            owners.extend(addresses.unwrap_or_default().iter().map(|one| (*one, *id)));
        }
        owners
    }
}

impl Worker {
    /// Takes over what is open of whoever waits.
    pub(super) fn adopt(&mut self) {
        let began = Instant::now();
        let owners = self.adoption.owners();
        let is_wanted = |one: &Tracked| {
            let ends = [one.original.source.ip(), one.reply.source.ip()];
            matches!(one.protocol, TCP | UDP | SCTP)
                && !one.picked_up
                && ends.iter().any(|end| owners.contains_key(end))
        };
        let failure = match conntrack::tracked(is_wanted) {
            Ok(tracked) => {
                let flows: Vec<_> = self.adoption.flows(&tracked, began).collect();
                match self.now.flows.adopt(&flows) {
                    Ok(0) => None,
                    Ok(count) => {
                        tracing::info!(connections = count, "took over what was open");
                        None
                    }
                    Err(error) => Some(causes(&error)),
                }
            }
            Err(error) => Some(causes(&error)),
        };
        if let Some(failure) = &failure
            && self.adoption.failure.as_ref() != Some(failure)
        {
            tracing::warn!("open connections are not all taken over: {failure}");
        }
        self.adoption.failure = failure;
        let took = began.elapsed();
        self.adoption.next_walk = Some(began + took + took.saturating_mul(WALK_SHARE));
    }

    /// The walk after the write, or after programs were attached.
    pub(super) fn adopt_rest(&mut self) {
        self.adopt();
        self.adoption.waiting.clear();
        self.reply(Reply::Adopting(0));
    }

    /// The walk before the write.
    pub(super) fn adopt_first(&mut self) {
        self.reply(Reply::Adopting(self.adoption.waiting()));
        self.adopt();
        self.adoption.next_walk = None;
    }
}

/// The pod sent first.
fn as_opener(endpoint: EndpointId, tracked: &Tracked) -> OpenFlow {
    OpenFlow {
        endpoint,
        protocol: tracked.protocol,
        pod: tracked.original.source,
        peer: tracked.original.destination,
        state: state(tracked, FlowState::OPENED_BY_POD),
        // A tag is that of whoever receives it.
        next: (tracked.tags.1, tracked.tags.0),
    }
}

/// The pod answered.
fn as_answerer(endpoint: EndpointId, tracked: &Tracked) -> OpenFlow {
    OpenFlow {
        endpoint,
        protocol: tracked.protocol,
        pod: tracked.reply.source,
        peer: tracked.reply.destination,
        state: state(tracked, FlowState::OPENED_BY_PEER),
        next: (tracked.tags.0, tracked.tags.1),
    }
}

fn state(tracked: &Tracked, opener: u8) -> FlowState {
    const SHAKEN: u8 = FlowState::SEEN_ANSWER | FlowState::SEEN_CONFIRMATION;
    const FINS: u8 = FlowState::SEEN_POD_FIN | FlowState::SEEN_PEER_FIN;
    let (phase, seen) = match (tracked.protocol, tracked.progress) {
        (_, Progress::Opened) => (FlowState::PHASE_NEW, 0),
        (UDP, _) if tracked.assured => (FlowState::PHASE_ESTABLISHED, FlowState::SEEN_LATER),
        (UDP, _) => (FlowState::PHASE_ESTABLISHED, 0),
        (_, Progress::Established) => (FlowState::PHASE_ESTABLISHED, SHAKEN),
        // Whose FIN it was is not known: whoever goes on sending had sent none.
        (_, Progress::Ending) => (FlowState::PHASE_DOUBTFUL, SHAKEN | FINS),
    };
    FlowState {
        phase,
        opener,
        seen,
        ..FlowState::default()
    }
}

/// How each endpoint is in the end.
fn last_entries(ops: &[Op]) -> BTreeMap<EndpointId, &EndpointEntry> {
    ops.iter()
        .filter_map(|op| match op {
            Op::PutEndpoint(entry) => Some((entry.id, entry)),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
