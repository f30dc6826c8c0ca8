//! The thread that owns the tables.
//!
//! Owns the [`Generation`] in force: whatever waits for the kernel – grace periods, walks of flow tables,
//! verifying a second copy of a program – waits here and holds nobody up. Knows neither pods nor
//! interfaces. Invariant: requests are executed in the order in which they came, and everything
//! that was queued is written before the tables are settled once.

mod adoption;
mod answer;
mod events;
mod messages;
mod recheck;
mod replace;

use std::{
    iter,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Instant,
};

use policy_common::Endpoint;
use policy_core::plan::Op;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub(super) use self::messages::{Reply, Request, State};
use self::{
    adoption::Adoption,
    events::{IDLE_TICK, UNTOLD},
    recheck::Recheck,
};
use super::{AgentError, AgentOptions, causes};
use crate::datapath::{
    Attacher, Datapath, EventReader, Generation, LoadOptions, Loaded, Mechanism, NodeFacts, Pins,
    TableSizes,
};

/// Requests that one turn takes.
const MOST_REQUESTS: usize = 1_024;

/// From so many interfaces on a host is taken to have many pods.
const MANY_INTERFACES: usize = 8;

/// The loop's end.
pub(super) struct Tables {
    loader: Loader,
    requests: Sender<Request>,
    outbox: UnboundedSender<Reply>,
    pub(super) replies: UnboundedReceiver<Reply>,
    unread: Arc<AtomicUsize>,
    /// Nobody needs filters that bridge the wait for links.
    pub(super) no_bridges: Arc<AtomicBool>,
}

/// Loads generations of this run.
#[derive(Clone)]
struct Loader {
    options: AgentOptions,
    pins: Pins,
    /// Nobody needs filters that bridge the wait for links.
    no_bridges: Arc<AtomicBool>,
}

impl Tables {
    /// Starts the thread, which loads the programs first.
    pub(super) fn start(options: &AgentOptions, pins: &Pins) -> Result<Self, AgentError> {
        let (requests, inbox) = channel();
        let (outbox, replies) = unbounded_channel();
        let unread = Arc::new(AtomicUsize::new(0));
        let no_bridges = Arc::new(AtomicBool::new(false));
        let loader = Loader {
            options: options.clone(),
            pins: pins.clone(),
            no_bridges: Arc::clone(&no_bridges),
        };
        let (own, sender) = (loader.clone(), outbox.clone());
        let counted = Arc::clone(&unread);
        thread::Builder::new()
            .name("tables".into())
            .spawn(move || {
                if let Err(error) = Worker::run(own, &sender, counted, &inbox) {
                    // The loop may have ended meanwhile.
                    drop(sender.send(Reply::Failed(error)));
                }
            })
            .map_err(AgentError::Thread)?;
        Ok(Self {
            loader,
            requests,
            outbox,
            replies,
            unread,
            no_bridges,
        })
    }

    /// Asks; the answer comes through `replies`. When the thread has ended they end too.
    pub(super) fn ask(&self, request: Request) {
        drop(self.requests.send(request));
    }

    /// One reading of events was dealt with.
    pub(super) fn events_read(&self) {
        let one_less = |unread: usize| unread.checked_sub(1);
        // The last ones are not counted.
        let _ = self
            .unread
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
    }
}

impl Loader {
    fn load(&self, sizes: TableSizes) -> Result<Loaded, AgentError> {
        Ok(Loaded::load(&LoadOptions {
            config: self.options.config,
            sizes,
            pins: Some(&self.pins),
            stand_ins: self.may_bridge(),
            needless: Some(&self.no_bridges),
            ..LoadOptions::embedded()?
        })?)
    }

    /// The generation with which a run begins, and the endpoints of the run before.
    fn first(&self) -> Result<(Loaded, Vec<Endpoint>), AgentError> {
        let earlier = self.pins.endpoints()?;
        let mut loaded = self.load(self.options.sizes)?;
        // Flows under numbers that nobody has must not be taken over by whoever gets the number.
        let live = earlier.iter().map(|endpoint| endpoint.id).collect();
        if let Err(error) = loaded.sweep(&live) {
            tracing::warn!("sweeping flows: {}", causes(&error));
        }
        Ok((loaded, earlier))
    }

    /// Whether filters will perhaps bridge the wait for links: at a first start, or after one that was
    /// cut off, on a host with many interfaces.
    fn may_bridge(&self) -> bool {
        let mechanism = self.options.attach.mechanism();
        let attacher = Attacher::new(self.pins.clone(), mechanism);
        let is_first = attacher.records().is_ok_and(|records| records.is_empty())
            || attacher.filters().is_ok_and(|filters| !filters.is_empty());
        let interfaces = nix::net::if_::if_nameindex();
        mechanism == Mechanism::Tcx
            && is_first
            && interfaces.is_ok_and(|all| all.iter().count() > MANY_INTERFACES)
    }
}

struct Worker {
    now: Generation,
    /// Of the generation before, while links lead to its programs.
    events_before: Option<EventReader>,
    node: NodeFacts,
    pins: Pins,
    memory_limit: u64,
    replies: UnboundedSender<Reply>,
    unread: Arc<AtomicUsize>,
    /// Written, but programs do not remember it yet.
    unsettled: bool,
    last_event: Option<Instant>,
    next_untold: Instant,
    adoption: Adoption,
    recheck: Recheck,
}

impl Worker {
    /// Works until the loop ends.
    fn run(
        loader: Loader,
        replies: &UnboundedSender<Reply>,
        unread: Arc<AtomicUsize>,
        inbox: &Receiver<Request>,
    ) -> Result<(), AgentError> {
        let (loaded, earlier) = loader.first()?;
        // The loop may have ended: then this thread ends too.
        drop(replies.send(Reply::Loaded));
        let mut node = NodeFacts::default();
        let (turn, wanted) = loop {
            match inbox.recv() {
                Ok(Request::Enforce { turn, wanted }) => break (turn, wanted),
                Ok(Request::TunnelPorts(ports)) => node.tunnel_ports = ports,
                Ok(Request::LocalRoutes(routes)) => node.local_routes = routes,
                Ok(Request::Ifbs(ifbs)) => node.ifbs = ifbs,
                Ok(Request::Services(services)) => node.services = services,
                Ok(_) => {}
                Err(_) => return Ok(()),
            }
        };
        let memory_limit = u64::from(loader.options.memory_limit) << 20;
        let filled = replace::fill(&loader, loaded, &node, &wanted, memory_limit)?;
        let failures = filled.refused().to_vec();
        let Datapath {
            programs,
            generation,
        } = filled.enforce()?;
        let mut worker = Self {
            now: generation,
            events_before: None,
            node,
            pins: loader.pins,
            memory_limit,
            replies: replies.clone(),
            unread,
            unsettled: false,
            last_event: None,
            next_untold: Instant::now() + UNTOLD,
            adoption: Adoption::default(),
            recheck: Recheck::default(),
        };
        worker.recheck.foresee(&wanted, Instant::now());
        if worker.adoption.begin(&earlier, &wanted, Instant::now()) {
            worker.adopt_first();
        }
        // In this order: hooks are looked for only where the loop knows that their endpoint is written.
        worker.written(turn, &failures);
        worker.in_force(programs);
        worker.work(inbox);
        Ok(())
    }

    fn work(&mut self, inbox: &Receiver<Request>) {
        let mut next_tick = Instant::now() + IDLE_TICK;
        loop {
            let now = Instant::now();
            let wanted = [self.adoption.due(now), self.recheck.due()];
            let due = wanted.into_iter().flatten().fold(next_tick, Instant::min);
            let wait = due.saturating_duration_since(now);
            match inbox.recv_timeout(wait) {
                Ok(first) => {
                    let more = inbox.try_iter().take(MOST_REQUESTS);
                    self.turn(iter::once(first).chain(more));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            if self.adoption.due(now).is_some_and(|due| due <= now) {
                self.adopt_rest();
            }
            if self.recheck.due().is_some_and(|due| due <= now) {
                self.recheck();
            }
            if now >= next_tick {
                next_tick = now + self.tick(now);
            }
        }
    }

    /// Executes requests in order, operations that follow each other together.
    fn turn(&mut self, requests: impl Iterator<Item = Request>) {
        let mut waiting: Option<(u64, Vec<Op>)> = None;
        for request in requests {
            match request {
                Request::Apply { turn, ops } => {
                    let (last, all) = waiting.get_or_insert_with(|| (turn, Vec::new()));
                    *last = turn;
                    all.extend(ops);
                }
                other => {
                    self.write(waiting.take());
                    self.execute(other);
                }
            }
        }
        self.write(waiting);
    }

    fn execute(&mut self, request: Request) {
        match request {
            Request::Apply { turn, ops } => self.write(Some((turn, ops))),
            Request::Fit {
                turn,
                wanted,
                may_grow,
            } => {
                if self.adoption.foresee_all(&wanted, Instant::now()) {
                    self.adopt_first();
                }
                self.recheck.foresee(&wanted, Instant::now());
                let limit = if may_grow { self.memory_limit } else { 0 };
                let failures = self.now.tables.fit(&wanted, limit);
                self.written(turn, &failures);
            }
            Request::TunnelPorts(ports) => {
                let told = self.now.tables.set_tunnel_ports(&ports);
                self.must(told);
                self.node.tunnel_ports = ports;
            }
            Request::LocalRoutes(routes) => {
                let told = self.now.tables.set_local_routes(&routes);
                self.must(told);
                self.node.local_routes = routes;
            }
            Request::Ifbs(ifbs) => {
                let told = self.now.tables.set_ifbs(&ifbs);
                self.must(told);
                self.node.ifbs = ifbs;
            }
            Request::Services(services) => {
                let told = self.now.tables.set_services(&services);
                self.must(told);
                self.node.services = services;
            }
            // It is what this thread began with.
            Request::Enforce { .. } => {}
            Request::Replace {
                turn,
                loaded,
                wanted,
            } => self.replace(turn, *loaded, &wanted),
            Request::Retire => {
                self.tell_untold();
                self.events_before = None;
                self.retire();
            }
            Request::FinishCarry => {
                if self.events_before.is_none() {
                    self.retire();
                }
                // Programs go on with two flow tables: slower, and right.
                if let Err(error) = self.now.finish_carry() {
                    tracing::warn!("taking flows along: {}", causes(&error));
                }
            }
            Request::Adopt(endpoint) => self.adoption.attached(endpoint),
            Request::TellLast => self.tell_last(),
            Request::Sweep(live) => {
                // After it, numbers are given again: what was counted under them is another's.
                self.tell_untold();
                let began = Instant::now();
                let result = self.now.flows.sweep(&live);
                if let Err(error) = &result {
                    tracing::warn!("sweeping flows: {}", causes(error));
                }
                self.reply(Reply::Swept {
                    clean: result.is_ok() && !self.now.tables.is_refused(),
                    took: began.elapsed(),
                });
            }
        }
    }

    fn write(&mut self, ops: Option<(u64, Vec<Op>)>) {
        let Some((turn, ops)) = ops else { return };
        if self.adoption.foresee(&ops, Instant::now()) {
            self.adopt_first();
        }
        self.recheck.foresee(&ops, Instant::now());
        let failures = self.now.tables.apply(&ops);
        if self.now.tables.is_exact() {
            self.written(turn, &failures);
        } else {
            self.reply(Reply::Incomplete);
        }
    }
}
