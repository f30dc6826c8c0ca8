//! The loop: the only place where source, resolver, node and datapath meet.
//!
//! Owns the order of things. Facts from the source and the node are collected until both have said
//! all there is; then a new generation of tables is filled, its pins replace the old ones, and the
//! programs go on the interfaces. From then on the loop turns: it takes in whatever has come,
//! commits once, hands the operations to the thread that owns the tables, and has put right what
//! differs at the hooks. Must not decide verdicts, read files, speak netlink or wait for the
//! kernel. Invariant: nothing is decided or removed before every source's first sync; a background
//! task or thread that ends ends the process.

mod alone;
mod attribution;
mod budget;
mod collection;
mod control;
mod controls;
mod drops;
mod endpoints;
mod enforcement;
mod growth;
#[cfg(feature = "health")]
mod health;
mod hook_state;
mod hooks;
mod links;
mod locals;
mod memory;
#[cfg(feature = "health")]
mod metrics;
mod names;
mod observers;
mod options;
mod own;
mod pins;
mod ports;
mod questions;
mod readiness;
mod reconcile;
mod replies;
mod services;
mod shortage;
mod snapshot;
mod sources;
mod status;
mod succession;
mod tables;
mod turn;
mod ways;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use policy_common::RulesetId;
use policy_core::{
    bind::{Binder, EndpointIds},
    resolve::Resolver,
};
use tokio::{sync::mpsc, task::JoinHandle};

use self::{
    attribution::Attribution, collection::Collection, hooks::Hooks, ports::Ports, snapshot::Pace,
    sources::SourceState, status::Published, tables::Tables,
};
use crate::{
    datapath::{Attacher, Hook, Lifetime, Mechanism, PinDir, Pins, TableSizes},
    node,
    source::Source,
};

pub use controls::Controls;
pub use options::{AgentError, AgentOptions, UnknownEndpoint};
pub use snapshot::{
    AgentStatus, EndpointStatus, Isolation, STALE_MS, ServicesStatus, Snapshot, UnenforcedInterface,
};
pub use sources::SourceStatus;
pub use status::query;

/// How often the flow tables are swept, at most and at least; in between, so seldom that it costs
/// a ten-thousandth of a processor: without sweeps what is over gives way to what is new.
const SWEEP: Duration = Duration::from_secs(5);
const LATEST_SWEEP: Duration = Duration::from_secs(60);
const SWEEP_SHARE: u32 = 10_000;
/// How long a number rests at least while somebody waits for it.
const URGENT_SWEEP: Duration = Duration::from_secs(1);
/// How often the place of the programs is verified, though nobody announced a change: links of
/// other programs are not announced.
const VERIFY: Duration = Duration::from_secs(15);
/// How often what a table refused is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// How long the loop sleeps at most: the published snapshot is confirmed that often.
const HEARTBEAT: Duration = Duration::from_secs(2);
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
    memory: memory::Memory,
    ids: EndpointIds,
    ports: Ports,
    /// Addresses that interfaces came with.
    own: own::Own,
    links: links::Links,
    ways: ways::Ways,
    /// Frames must carry the Ethernet address that their interface had when their pod was first known.
    check_mac: bool,
    host_addresses: BTreeSet<std::net::IpAddr>,
    locals: locals::Locals,
    services: services::Services,
    /// The resolver was told something since the last commit.
    dirty: bool,
    collection: Collection,

    // The tables.
    tables: Tables,
    /// The turn whose operations were sent last, and the last one that is written.
    turn: u64,
    written: u64,
    failures: Vec<String>,
    /// How many of the failures, the first ones, are writes that the kernel refused.
    refused_writes: usize,
    waiting: usize,
    /// Endpoints of which it is looked for what was open before their first policy.
    adopting: usize,
    /// The tables are exactly what the resolver says.
    is_exact: bool,
    is_refused: bool,
    /// Rulesets that endpoints keep in tables without room for others.
    held: BTreeSet<RulesetId>,
    /// The turn that was sent last collects.
    collecting: bool,
    sizes: TableSizes,
    growth: growth::Growth,
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
    former: names::FormerNames,
    observers: observers::Observers,
    /// Programs need not ask the flow tables of the generation before any more.
    is_carry_over: bool,
    conflicts: Vec<String>,
    pace: Pace,
    published: Published,
    #[cfg(feature = "health")]
    measured: metrics::Measured,
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
    let mut shutdown = std::pin::pin!(shutdown);
    let was_missing = Lifetime::is_missing();
    let Some(pins) = succession::lock(&options, shutdown.as_mut()).await? else {
        return Ok(());
    };
    let lifetime = Lifetime::of(options.pins.path(), was_missing);
    if lifetime == Lifetime::EndsWithAgent {
        tracing::error!(
            remedy = "mount the machine's BPF file system on /sys/fs/bpf of the agent",
            "the BPF file system is in a mount namespace of this process: ENFORCEMENT ENDS WITH THE AGENT"
        );
    }
    let mut source = Source::open(&options.source)?;
    let watcher = node::Watcher::open(&node::Options::default())?;
    let (sender, mut node_events) = mpsc::channel(NODE_EVENTS);
    let mut node_task = tokio::spawn(watcher.run(sender));
    let mut agent = Agent::new(&options, &pins, &source)?;
    let (desk, mut questions) = control::Desk::new(&options, &agent);
    let desk = std::sync::Arc::new(desk);
    control::watch(std::sync::Arc::clone(&desk)).map_err(AgentError::Thread)?;
    crate::control::listen(&options.pins.socket(), desk)?;
    #[cfg(feature = "health")]
    if let Some(address) = options.health {
        let (published, measured) = (agent.published.clone(), agent.measured.clone());
        let metrics = metrics::Metrics::new(published, measured, options.pins.clone());
        health::listen(address, metrics)?;
    }
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
            Some(question) = questions.recv() => agent.on_question(question),
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
    agent.tell_last().await;
    match lifetime {
        Lifetime::Lasting => {
            tracing::info!("stopped; what is enforced stays enforced until `policy-agent cleanup`")
        }
        Lifetime::EndsWithAgent => tracing::error!(
            "stopped; nothing is enforced any more: the BPF file system was the agent's alone"
        ),
    }
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
    fn new(options: &AgentOptions, pins: &Pins, source: &Source) -> Result<Self, AgentError> {
        let now = Instant::now();
        let (found, earlier) = memory::Found::open(pins)?;
        let mechanism = options.attach.mechanism();
        let attacher = Attacher::new(pins.clone(), mechanism);
        let mut binder = pins::binder(&options.node_name, &earlier);
        let memory = memory::Memory::of(found, attacher.gone()?, &mut binder);
        Ok(Self {
            unknown: options.unknown,
            mechanism,
            most_endpoints: options.sizes.max_endpoints,
            pins: options.pins.clone(),
            phase: Phase::Waiting,
            source: SourceState::new(source.name()),
            node_synced: NodeSynced::default(),
            loaded: false,
            resolver: Resolver::new(),
            binder,
            memory,
            ids: EndpointIds::new(options.sizes.max_endpoints, &earlier),
            ports: Ports::recorded(&earlier),
            own: own::Own::of_earlier(&earlier),
            links: links::Links::default(),
            ways: ways::Ways::default(),
            check_mac: options.check_mac,
            host_addresses: BTreeSet::new(),
            locals: locals::Locals::default(),
            services: services::Services::of(&options.service_cidrs),
            dirty: false,
            collection: Collection::default(),
            tables: Tables::start(options, pins)?,
            turn: 0,
            written: 0,
            failures: Vec::new(),
            refused_writes: 0,
            waiting: 0,
            adopting: 0,
            is_exact: true,
            is_refused: false,
            held: BTreeSet::new(),
            collecting: false,
            sizes: options.sizes,
            growth: growth::Growth::new(options.memory_limit, now),
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
            former: names::FormerNames::default(),
            observers: observers::Observers::default(),
            is_carry_over: false,
            conflicts: Vec::new(),
            pace: Pace::default(),
            published: Published::new(source.contact()),
            #[cfg(feature = "health")]
            measured: metrics::Measured::default(),
        })
    }
}

/// An error with its causes, on one line.
fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}
