//! The loop: the only place where source, resolver, node and datapath meet.
//!
//! Owns the order of things. Facts from the source and the node are collected until both have said
//! all there is; then a new generation of tables is filled, its pins replace the old ones, and the
//! programs go on the interfaces. From then on every single change is applied, committed and
//! executed by itself, so that every packet meets the verdict before it or the one after it.
//! Must not decide verdicts, read files or speak netlink. Invariant: nothing is decided or removed
//! before every source's first sync; a background task that ends ends the process.

mod attribution;
mod collection;
mod drops;
mod endpoints;
mod options;
mod own;
mod position;
mod sources;
mod status;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use policy_common::Endpoint;
use policy_core::{
    bind::{BindProblem, Binder},
    model::{Change, EndpointFact},
    plan::Op,
    resolve::Resolver,
};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::MissedTickBehavior,
};

use self::{attribution::Attribution, collection::Collection, sources::SourceState};
use crate::{
    datapath::{Attacher, Datapath, EndpointIds, Hook, LoadOptions, PinDir},
    node::{self, NodeEvent},
    source::Source,
};

pub use options::{AgentError, AgentOptions, UnknownEndpoint};
pub use sources::SourceStatus;
pub use status::{
    AgentStatus, EndpointStatus, Isolation, Snapshot, StatusError, UnenforcedInterface, query,
};

/// How often events are read: the programs wake nobody.
const TICK: Duration = Duration::from_millis(100);
/// How often the flow tables are swept.
const SWEEP: Duration = Duration::from_secs(5);
/// How often the place of the programs is verified, though nobody announced a change: links of
/// other programs are not announced.
const VERIFY: Duration = Duration::from_secs(15);
/// Events that are read at once; the rest waits for the next tick.
const EVENTS_PER_TICK: usize = 512;
/// Node events that may wait.
const NODE_EVENTS: usize = 256;

/// Everything the loop owns.
struct Agent {
    unknown: UnknownEndpoint,
    resolver: Resolver,
    binder: Binder,
    ids: EndpointIds,
    datapath: Datapath,
    attacher: Attacher,
    pins: PinDir,
    /// The host's interfaces.
    interfaces: BTreeMap<u32, node::Interface>,
    /// What the resolver was told of each endpoint.
    endpoints: BTreeMap<u32, EndpointFact>,
    /// Interfaces that are pods' for as long as they exist.
    recorded: BTreeSet<u32>,
    /// Those of them whose other end moved to another network namespace.
    moved: BTreeSet<u32>,
    /// Addresses that interfaces came with.
    own: own::Own,
    /// Endpoints of the run before, for their numbers.
    earlier: BTreeMap<u32, Endpoint>,
    /// What is attached.
    attached: BTreeSet<(u32, Hook)>,
    /// Why an interface that should be enforced is not.
    unenforced: BTreeMap<u32, String>,
    /// Why the pod behind an interface is not known.
    bind_problems: BTreeMap<u32, BindProblem>,
    host_addresses: BTreeSet<std::net::IpAddr>,
    source: SourceState,
    attribution: Attribution,
    conflicts: Vec<String>,
    failures: Vec<String>,
    /// When programs were last moved to the front.
    moves: BTreeMap<(u32, Hook), Instant>,
    /// Interfaces whose chains changed.
    verify: BTreeSet<u32>,
    node_synced: NodeSynced,
    enforcing: bool,
    collection: Collection,
}

/// Which of the first node events have come.
#[derive(Clone, Copy, Debug, Default)]
struct NodeSynced {
    interfaces: bool,
    addresses: bool,
    routes: bool,
    tunnels: bool,
}

/// Runs until `shutdown` is ready. What is enforced then stays enforced. Whenever `reload` is
/// notified, the source reads everything again.
///
/// Must be called in the host's network namespace, on a runtime of one thread, so that every
/// socket is opened in that namespace.
///
/// # Errors
/// The agent cannot begin, or something that it depends on ended. What is enforced stays enforced.
pub async fn run(
    options: AgentOptions,
    shutdown: impl Future<Output = ()>,
    reload: &Notify,
) -> Result<(), AgentError> {
    let lock = options.pins.lock()?;
    options.pins.prepare(&lock)?;
    let mut source = Source::open(&options.source)?;
    let watcher = node::Watcher::open(&node::Options::default())?;
    let (sender, mut node_events) = mpsc::channel(NODE_EVENTS);
    let mut node_task = tokio::spawn(watcher.run(sender));
    let mut queries = status::listen(&options.pins)?;
    let mut agent = Agent::new(&options, source.name())?;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut verify = tokio::time::interval(VERIFY);
    verify.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            () = reload.notified() => {
                tracing::info!("reading everything again");
                source.reload();
            }
            event = source.next() => agent.on_source(event?)?,
            event = node_events.recv() => match event {
                Some(event) => agent.on_node(event)?,
                None => return Err(ended(&mut node_task).await),
            },
            query = queries.recv() => match query {
                Some(answer) => status::reply(answer, &agent.snapshot()),
                None => return Err(AgentError::TaskEnded("status queries")),
            },
            _ = tick.tick() => agent.on_tick(),
            _ = sweep.tick() => agent.on_sweep(),
            _ = verify.tick() => agent.verify.extend(agent.attached.iter().map(|(index, _)| *index)),
        }
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
        let earlier = options.pins.endpoints()?;
        let mut datapath = Datapath::load(&LoadOptions {
            config: options.config,
            sizes: options.sizes,
            pins: Some(&options.pins),
            ..LoadOptions::embedded()?
        })?;
        let ids = EndpointIds::new(options.sizes.max_endpoints, &earlier);
        // Flows under numbers that nobody has must not be taken over by whoever gets the number.
        if let Err(error) = datapath.sweep(&ids.live()) {
            tracing::warn!("sweeping flows: {error}");
        }
        let mechanism = options.attach.mechanism();
        Ok(Self {
            unknown: options.unknown,
            resolver: Resolver::new(),
            binder: Binder::new(),
            ids,
            datapath,
            attacher: Attacher::new(options.pins.clone(), mechanism),
            pins: options.pins.clone(),
            interfaces: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            // Whoever was a pod's interface stays one: a restart must not open it.
            recorded: earlier.iter().map(|endpoint| endpoint.ifindex).collect(),
            moved: BTreeSet::new(),
            own: own::Own::of_earlier(&earlier),
            earlier: earlier
                .into_iter()
                .map(|endpoint| (endpoint.ifindex, endpoint))
                .collect(),
            attached: BTreeSet::new(),
            unenforced: BTreeMap::new(),
            bind_problems: BTreeMap::new(),
            host_addresses: BTreeSet::new(),
            source: SourceState::new(source),
            attribution: Attribution::default(),
            conflicts: Vec::new(),
            failures: Vec::new(),
            moves: BTreeMap::new(),
            verify: BTreeSet::new(),
            node_synced: NodeSynced::default(),
            enforcing: false,
            collection: Collection::default(),
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

    fn on_node(&mut self, event: NodeEvent) -> Result<(), AgentError> {
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
                self.datapath
                    .set_tunnel_ports(&ports)
                    .map_err(|source| AgentError::Map {
                        what: policy_common::names::TUNNEL_PORTS,
                        source,
                    })?;
            }
            NodeEvent::LocalRoutes(routes) => {
                self.node_synced.routes = true;
                self.datapath
                    .set_local_routes(&routes)
                    .map_err(|source| AgentError::Map {
                        what: policy_common::names::LOCALS_V4,
                        source,
                    })?;
            }
            NodeEvent::TcChanged { ifindex } => {
                self.verify.insert(ifindex);
            }
            NodeEvent::Resynced => {
                let attached = self.attached.iter().map(|(ifindex, _)| *ifindex);
                self.verify.extend(attached);
            }
        }
        self.begin()
    }

    /// Applies one change; once the tables are in force, commits it by itself.
    fn change(&mut self, change: Change) {
        self.resolver.apply(change);
        if self.enforcing {
            let ops = self.resolver.commit();
            self.execute(&ops);
        }
    }

    fn execute(&mut self, ops: &[Op]) {
        if !ops.is_empty() {
            self.collection.changed(Instant::now());
        }
        self.attribution.record(ops, &self.resolver);
        let mut failures = self.datapath.apply(ops);
        failures.extend(self.datapath.settle().err());
        let failures: Vec<_> = failures.iter().map(ToString::to_string).collect();
        for failure in &failures {
            if !self.failures.contains(failure) {
                tracing::error!("{failure}; the old state stays in force");
            }
        }
        if failures.is_empty() && !self.failures.is_empty() {
            tracing::info!("all tables are up to date again");
        }
        self.failures = failures;
    }

    /// Once everything is known: fills the tables, replaces the pins and attaches.
    fn begin(&mut self) -> Result<(), AgentError> {
        let NodeSynced {
            interfaces,
            addresses,
            routes,
            tunnels,
        } = self.node_synced;
        if self.enforcing || !(self.source.synced && interfaces && addresses && routes && tunnels) {
            return Ok(());
        }
        // Nobody reads the new tables yet: one batch.
        let ops = self.resolver.commit();
        let ops = self.renumber(ops);
        self.execute(&ops);
        self.enforcing = true;
        self.datapath.publish()?;
        self.attach_all()?;
        self.settle_source();
        self.report_conflicts();
        tracing::info!(
            endpoints = self.endpoints.len(),
            mechanism = ?self.attacher.mechanism(),
            pin_path = %self.pins.path().display(),
            "enforcing"
        );
        Ok(())
    }

    fn on_tick(&mut self) {
        if !self.enforcing {
            return;
        }
        self.report_drops();
        self.datapath.flush_debug();
        self.verify_positions();
        let refused = self.datapath.waiting() > 0;
        if self.collection.take_due(Instant::now(), refused) {
            // May leave identities unused in its turn: it counts as a change.
            let ops = self.resolver.collect();
            self.execute(&ops);
        }
        self.settle_source();
    }

    fn on_sweep(&mut self) {
        if !self.enforcing {
            return;
        }
        match self.datapath.sweep(&self.ids.live()) {
            // While removals wait, an endpoint that is gone may still make flows.
            Ok(_) if self.datapath.waiting() == 0 => self.ids.swept(),
            Ok(_) => {}
            Err(error) => tracing::warn!("sweeping flows: {error}"),
        }
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
