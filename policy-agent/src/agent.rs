//! The loop: the only place where source, resolver, node and datapath meet.
//!
//! Owns the order of things. Facts from the source and the node are collected until both have said
//! all there is; then a new generation of tables is filled, its pins replace the old ones, and the
//! programs go on the interfaces. From then on the loop turns: it takes in whatever has come,
//! commits once, hands the operations to the thread that owns the tables, and has put right what
//! differs at the hooks. Must not decide verdicts, read files, speak netlink or wait for the
//! kernel. Invariant: nothing is decided or removed before every source's first sync; a background
//! task or thread that ends ends the process.

mod attribution;
mod collection;
mod controls;
mod drops;
mod endpoints;
mod enforcement;
mod hook_state;
mod hooks;
mod options;
mod own;
mod pins;
mod ports;
mod reconcile;
mod shortage;
mod snapshot;
mod sources;
mod status;
mod tables;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use policy_common::RulesetId;
use policy_core::{
    bind::{Binder, EndpointIds},
    model::Change,
    plan::Op,
    resolve::Resolver,
};
use tokio::{sync::mpsc, task::JoinHandle};

use self::{
    attribution::Attribution,
    collection::Collection,
    hooks::{Hooks, Job},
    ports::Ports,
    snapshot::Pace,
    sources::SourceState,
    status::Published,
    tables::{Reply, Request, State, Tables},
};
use crate::{
    datapath::{Attacher, Hook, Mechanism, PinDir, TableSizes},
    node::{self, NodeEvent},
    source::Source,
};

pub use controls::Controls;
pub use options::{AgentError, AgentOptions, UnknownEndpoint};
pub use snapshot::{
    AgentStatus, EndpointStatus, Isolation, STALE_MS, Snapshot, UnenforcedInterface,
};
pub use sources::SourceStatus;
pub use status::{StatusError, query};

/// How often the flow tables are swept, at most and at least; in between, so seldom that it costs
/// a thousandth of a processor.
const SWEEP: Duration = Duration::from_secs(5);
const LATEST_SWEEP: Duration = Duration::from_secs(60);
const SWEEP_SHARE: u32 = 2_000;
/// How long a number rests at least while somebody waits for it.
const URGENT_SWEEP: Duration = Duration::from_secs(1);
/// How often the place of the programs is verified, though nobody announced a change: links of
/// other programs are not announced.
const VERIFY: Duration = Duration::from_secs(15);
/// How often what a table refused is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// How long the loop sleeps at most: the published snapshot is confirmed that often.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Node events that may wait.
const NODE_EVENTS: usize = 256;
/// Inputs that one turn takes in, so that what they mean is not put off without end.
const MOST_INPUTS: usize = 512;

/// How far the start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not everything was said yet.
    Waiting,
    /// The tables are being filled; nothing is attached yet.
    Filling,
    /// Programs are being attached for the first time.
    Attaching {
        /// Since when.
        since: Instant,
    },
    /// All that could be attached is.
    Enforcing,
}

impl Phase {
    /// Whether programs are attached wherever they are wanted.
    fn is_begun(self) -> bool {
        matches!(self, Self::Attaching { .. } | Self::Enforcing)
    }
}

/// Everything the loop owns.
struct Agent {
    unknown: UnknownEndpoint,
    mechanism: Mechanism,
    most_endpoints: u32,
    pins: PinDir,
    phase: Phase,

    // Inputs.
    source: SourceState,
    node_synced: NodeSynced,
    loaded: bool,

    // What follows from them.
    resolver: Resolver,
    binder: Binder,
    ids: EndpointIds,
    ports: Ports,
    /// Addresses that interfaces came with.
    own: own::Own,
    host_addresses: BTreeSet<std::net::IpAddr>,
    /// The resolver was told something since the last commit.
    dirty: bool,
    collection: Collection,

    // The tables.
    tables: Tables,
    /// The turn whose operations were sent last, and the last one that is written.
    turn: u64,
    written: u64,
    failures: Vec<String>,
    waiting: usize,
    /// The tables are exactly what the resolver says.
    is_exact: bool,
    is_refused: bool,
    /// Rulesets that endpoints keep in tables without room for others.
    held: BTreeSet<RulesetId>,
    /// The turn that was sent last collects.
    collecting: bool,
    sizes: TableSizes,
    next_retry: Instant,
    next_sweep: Instant,
    sweeping: bool,

    // The hooks.
    hooks: Hooks,
    /// What earlier runs left attached, until it is known what is wanted.
    records: Option<BTreeSet<(u32, Hook)>>,
    /// Jobs under way at hooks, and interfaces that are being forgotten.
    jobs: usize,
    forgetting: usize,
    /// Interfaces about which something is to be said, perhaps.
    alarms: BTreeSet<u32>,
    next_verify: Instant,

    // Sinks.
    attribution: Attribution,
    conflicts: Vec<String>,
    pace: Pace,
    published: Published,
}

/// Which of the first node events have come.
#[derive(Clone, Copy, Debug, Default)]
struct NodeSynced {
    interfaces: bool,
    addresses: bool,
    routes: bool,
    tunnels: bool,
}

/// Runs until `shutdown` is ready. What is enforced then stays enforced.
///
/// Must be called in the host's network namespace, on a runtime of one thread, so that every
/// socket is opened in that namespace. The caller ends the process afterwards: threads that wait
/// for the kernel are not waited for.
///
/// # Errors
/// The agent cannot begin, or something that it depends on ended. What is enforced stays enforced.
pub async fn run(
    options: AgentOptions,
    shutdown: impl Future<Output = ()>,
    controls: &Controls,
) -> Result<(), AgentError> {
    let lock = options.pins.lock()?;
    options.pins.prepare(&lock)?;
    let mut source = Source::open(&options.source)?;
    let watcher = node::Watcher::open(&node::Options::default())?;
    let (sender, mut node_events) = mpsc::channel(NODE_EVENTS);
    let mut node_task = tokio::spawn(watcher.run(sender));
    let mut agent = Agent::new(&options, source.name())?;
    status::listen(&options.pins, agent.published.clone())?;
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let mut idle = false;
        let sleep = agent.next_due().saturating_duration_since(Instant::now());
        tokio::select! {
            () = &mut shutdown => break,
            () = controls.reload.notified() => {
                tracing::info!("reading everything again");
                source.reload();
            }
            () = controls.report.notified() => agent.report(),
            event = source.next() => agent.on_source(event?),
            event = node_events.recv() => match event {
                Some(event) => agent.on_node(event),
                None => return Err(ended(&mut node_task).await),
            },
            reply = agent.tables.replies.recv() => match reply {
                Some(reply) => agent.on_reply(reply)?,
                None => return Err(AgentError::TaskEnded("the tables")),
            },
            done = agent.hooks.done.recv() => match done {
                Some(done) => agent.on_done(done, Instant::now()),
                None => return Err(AgentError::TaskEnded("the hooks")),
            },
            () = tokio::time::sleep(sleep) => idle = true,
        }
        agent.pace.changed |= !idle;
        // Whatever else has come belongs to the same turn.
        for _ in 0..MOST_INPUTS {
            if let Ok(event) = node_events.try_recv() {
                agent.on_node(event);
            } else if let Ok(reply) = agent.tables.replies.try_recv() {
                agent.on_reply(reply)?;
            } else if let Ok(done) = agent.hooks.done.try_recv() {
                agent.on_done(done, Instant::now());
            } else if let Some(event) = source.next().now_or_never() {
                agent.on_source(event?);
            } else {
                break;
            }
        }
        agent.turn(Instant::now());
    }
    drop(lock);
    tracing::info!("stopped; what is enforced stays enforced until `policy-agent cleanup`");
    Ok(())
}

/// Why the node's task ended.
async fn ended(task: &mut JoinHandle<Result<(), node::NodeError>>) -> AgentError {
    match task.await {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) | Err(_) => AgentError::TaskEnded("the node's network"),
    }
}

impl Agent {
    fn new(options: &AgentOptions, source: String) -> Result<Self, AgentError> {
        let now = Instant::now();
        let earlier = options.pins.endpoints()?;
        let mechanism = options.attach.mechanism();
        let attacher = Attacher::new(options.pins.clone(), mechanism);
        Ok(Self {
            unknown: options.unknown,
            mechanism,
            most_endpoints: options.sizes.max_endpoints,
            pins: options.pins.clone(),
            phase: Phase::Waiting,
            source: SourceState::new(source),
            node_synced: NodeSynced::default(),
            loaded: false,
            resolver: Resolver::new(),
            binder: pins::binder(&options.node_name, &earlier),
            ids: EndpointIds::new(options.sizes.max_endpoints, &earlier),
            ports: Ports::recorded(&earlier),
            own: own::Own::of_earlier(&earlier),
            host_addresses: BTreeSet::new(),
            dirty: false,
            collection: Collection::default(),
            tables: Tables::start(options)?,
            turn: 0,
            written: 0,
            failures: Vec::new(),
            waiting: 0,
            is_exact: true,
            is_refused: false,
            held: BTreeSet::new(),
            collecting: false,
            sizes: options.sizes,
            next_retry: now,
            next_sweep: now + SWEEP,
            sweeping: false,
            records: Some(attacher.records()?),
            hooks: Hooks::start(attacher)?,
            jobs: 0,
            forgetting: 0,
            alarms: BTreeSet::new(),
            next_verify: now + VERIFY,
            attribution: Attribution::default(),
            conflicts: Vec::new(),
            pace: Pace::default(),
            published: Published::default(),
        })
    }

    fn on_change(&mut self, change: Change) {
        let events = match &change {
            Change::Pod(pod) => self.binder.pod(pod),
            Change::PodRemoved(name) => self.binder.pod_removed(name),
            _ => Vec::new(),
        };
        self.change(change);
        for event in events {
            self.on_bind(event);
        }
    }

    fn on_node(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::Interfaces(interfaces) => {
                self.node_synced.interfaces = true;
                self.replace_interfaces(interfaces);
            }
            NodeEvent::Interface(interface) => self.interface(interface),
            NodeEvent::InterfaceGone(ifindex) => self.interface_gone(ifindex),
            NodeEvent::HostAddresses(addresses) => {
                self.node_synced.addresses = true;
                self.host_addresses = addresses.iter().copied().collect();
                self.change(Change::HostAddresses(addresses));
            }
            NodeEvent::TunnelPorts(ports) => {
                self.node_synced.tunnels = true;
                self.tables.ask(Request::TunnelPorts(ports));
            }
            NodeEvent::LocalRoutes(routes) => {
                self.node_synced.routes = true;
                self.tables.ask(Request::LocalRoutes(routes));
            }
            NodeEvent::TcChanged { ifindex } => self.look_again(Some(ifindex)),
            NodeEvent::Resynced => self.look_again(None),
        }
    }

    fn on_reply(&mut self, reply: Reply) -> Result<(), AgentError> {
        match reply {
            Reply::Loaded(programs) => {
                self.loaded = true;
                self.hooks.give(Job::Programs(Box::new(programs)));
            }
            Reply::Applied { turn, state } => self.on_applied(turn, state),
            Reply::Incomplete => self.on_incomplete(),
            Reply::Published => {
                self.phase = Phase::Attaching {
                    since: Instant::now(),
                };
                self.take_records();
                tracing::info!("the tables are filled; attaching programs");
            }
            Reply::Swept { clean, took } => self.on_swept(clean, took),
            Reply::Events(events) => {
                self.tables.events_read();
                self.report_drops(&events);
            }
            Reply::Failed(error) => return Err(error),
        }
        Ok(())
    }

    fn on_applied(&mut self, turn: u64, state: State) {
        self.written = turn;
        self.is_exact = state.is_exact;
        self.held = state.held;
        self.is_refused = state.is_refused;
        let mut failures = state.failures;
        failures.extend(shortage::describe(
            &state.short,
            state.packed,
            &self.sizes,
            &self.resolver,
            |ifindex| self.pod_or_interface(ifindex),
        ));
        for failure in &failures {
            if !self.failures.contains(failure) {
                tracing::error!("{failure}");
            }
        }
        if failures.is_empty() && !self.failures.is_empty() {
            tracing::info!("all tables are up to date again");
        }
        self.failures = failures;
        self.waiting = state.waiting;
        self.settle_source();
        if self.phase == Phase::Filling && self.written == self.turn {
            self.tables.ask(Request::Publish);
        }
    }

    /// A table was full in the middle of a plan: from now on the tables are planned anew from all
    /// that is wanted, until they are exactly that.
    fn on_incomplete(&mut self) {
        if self.is_exact {
            self.is_exact = false;
            self.send(Vec::new(), Instant::now());
            // What was not committed yet is not in it.
            let turn = self.turn;
            let waiting = self.ports.iter_mut().map(|(_, port)| port);
            for port in waiting.filter(|port| self.dirty && port.entry >= turn) {
                port.entry = turn + 1;
            }
        }
    }

    /// The pod behind an interface, or the interface's name.
    fn pod_or_interface(&self, ifindex: u32) -> String {
        let fact = self.ports.get(ifindex).and_then(|port| port.fact.as_ref());
        match fact.and_then(|fact| fact.pod.as_ref()) {
            Some(pod) => pod.to_string(),
            None => self.ports.name(ifindex),
        }
    }

    /// Everything that follows from what was taken in.
    fn turn(&mut self, now: Instant) {
        self.begin();
        self.commit(now);
        self.reconcile(now);
        self.report_alarms(now);
        self.maintain(now);
        self.publish(now);
    }

    /// Tells the resolver; what follows is committed at the end of the turn.
    fn change(&mut self, change: Change) {
        self.resolver.apply(change);
        self.dirty = true;
    }

    fn commit(&mut self, now: Instant) {
        if !self.dirty || self.phase == Phase::Waiting {
            return;
        }
        // A collection frees numbers: nothing uses them before it is written. Tables without room
        // are planned one step at a time.
        let is_alone = self.is_exact && !self.collecting;
        if !is_alone && self.written < self.turn {
            return;
        }
        self.collecting = false;
        self.dirty = false;
        let ops = self.resolver.commit();
        self.report_conflicts();
        self.send(ops, now);
    }

    fn send(&mut self, ops: Vec<Op>, now: Instant) {
        self.attribution.record(&ops, &self.resolver);
        if !ops.is_empty() {
            self.collection.changed(now);
        }
        self.turn += 1;
        let turn = self.turn;
        self.tables.ask(if self.is_exact {
            Request::Apply { turn, ops }
        } else {
            let wanted = self.resolver.full();
            Request::Fit { turn, wanted }
        });
    }

    /// Once everything is known: fills the tables and replaces the pins.
    fn begin(&mut self) {
        let NodeSynced {
            interfaces,
            addresses,
            routes,
            tunnels,
        } = self.node_synced;
        let is_node_synced = interfaces && addresses && routes && tunnels;
        let is_ready = self.loaded && self.source.synced && is_node_synced;
        if self.phase != Phase::Waiting || !is_ready {
            return;
        }
        self.phase = Phase::Filling;
        self.dirty = false;
        for event in self.binder.synced() {
            self.on_bind(event);
        }
        // Nobody reads the new tables yet: one batch.
        let ops = self.resolver.commit();
        let ops = self.renumber(ops);
        self.report_conflicts();
        self.send(ops, Instant::now());
    }

    /// What is due by the clock.
    fn maintain(&mut self, now: Instant) {
        if !self.phase.is_begun() {
            return;
        }
        if now >= self.next_verify {
            self.next_verify = now + VERIFY;
            self.look_again(None);
            self.reconcile(now);
        }
        // Programs of interfaces that are gone may still be on their way off.
        if now >= self.next_sweep && !self.sweeping && self.forgetting == 0 {
            self.sweeping = true;
            self.tables.ask(Request::Sweep(self.ids.begin_sweep()));
        }
        let refused = self.is_refused && now >= self.next_retry;
        if self.written == self.turn && self.collection.take_due(now, refused) {
            self.next_retry = now + RETRY;
            self.collecting = true;
            // May leave identities unused in its turn: it counts as a change.
            let ops = self.resolver.collect_but(&self.held);
            self.send(ops, now);
        }
    }

    fn on_swept(&mut self, clean: bool, took: Duration) {
        self.sweeping = false;
        // While removals wait, an endpoint that is gone may still make flows.
        if clean && self.ids.swept() {
            self.assign_numbers();
        }
        let pause = match (self.ids.is_any_resting(), self.is_number_wanted()) {
            (true, true) => URGENT_SWEEP,
            (true, false) => SWEEP,
            (false, _) => took.saturating_mul(SWEEP_SHARE).clamp(SWEEP, LATEST_SWEEP),
        };
        self.next_sweep = Instant::now() + pause;
    }

    fn is_number_wanted(&self) -> bool {
        self.ports.iter().any(|(_, port)| port.no_number)
    }

    /// When the loop has to turn though nothing comes.
    fn next_due(&self) -> Instant {
        let now = Instant::now();
        let mut due = now + HEARTBEAT;
        if self.phase.is_begun() {
            let retry = self.is_refused.then_some(self.next_retry);
            let wanted = [
                self.ports.next_due(now),
                self.collection.due(),
                retry.filter(|retry| *retry > now),
                self.pace.due(),
                Some(self.next_verify),
            ];
            due = wanted.into_iter().flatten().fold(due, Instant::min);
            if !self.sweeping && self.forgetting == 0 {
                due = due.min(self.next_sweep);
            }
        }
        due
    }

    fn report_conflicts(&mut self) {
        let conflicts: Vec<_> = self
            .resolver
            .conflicts()
            .iter()
            .map(|conflict| {
                let losers: Vec<_> = conflict.losers.iter().map(ToString::to_string).collect();
                format!(
                    "{} belongs to {}, not to {}",
                    conflict.address,
                    conflict.winner,
                    losers.join(", ")
                )
            })
            .collect();
        for conflict in &conflicts {
            if !self.conflicts.contains(conflict) {
                tracing::error!("address conflict: {conflict}");
            }
        }
        self.conflicts = conflicts;
    }
}

/// An error with its causes, on one line.
fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}
