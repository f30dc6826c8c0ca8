//! The thread that owns the tables.
//!
//! Owns the [`Datapath`]: whatever waits for the kernel – grace periods, walks of flow tables,
//! verifying a second copy of a program – waits here and holds nobody up. Knows neither pods nor
//! interfaces. Invariant: requests are executed in the order in which they came, and everything
//! that was queued is written before the tables are settled once.

mod messages;
mod replace;

use std::{
    collections::BTreeSet,
    iter,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use policy_common::names;
use policy_core::plan::Op;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub(super) use self::messages::{Reply, Request, State};
use super::{AgentError, AgentOptions, causes};
use crate::datapath::{
    Attacher, CallsBefore, Carry, Datapath, DebugLines, EventReader, Failure, LoadOptions,
    Mechanism, PinDir, PinDirError, Sweeper, TableSizes, TableWriter,
};

/// How often events are read while there are some: the programs wake nobody.
const BUSY_TICK: Duration = Duration::from_millis(100);
/// How often while there are none.
const IDLE_TICK: Duration = Duration::from_millis(400);
/// How long events are looked for more often after the last one.
const BUSY: Duration = Duration::from_secs(2);
/// Events that are read at once; the rest waits for the next tick.
const EVENTS_PER_TICK: usize = 512;
/// Readings of events that may wait for the loop; further ones wait in the kernel, which counts
/// what it has no room for.
const MOST_UNREAD: usize = 4;
/// Requests that one turn takes.
const MOST_REQUESTS: usize = 1_024;

/// From so many interfaces on a host is taken to have many pods.
const MANY_INTERFACES: usize = 8;

/// The loop's end.
pub(super) struct Tables {
    options: AgentOptions,
    requests: Sender<Request>,
    outbox: UnboundedSender<Reply>,
    pub(super) replies: UnboundedReceiver<Reply>,
    unread: Arc<AtomicUsize>,
    /// Nobody needs filters that bridge the wait for links.
    pub(super) no_bridges: Arc<AtomicBool>,
}

impl Tables {
    /// Starts the thread, which loads the programs first.
    pub(super) fn start(options: &AgentOptions) -> Result<Self, AgentError> {
        let (requests, inbox) = channel();
        let (outbox, replies) = unbounded_channel();
        let unread = Arc::new(AtomicUsize::new(0));
        let own = options.clone();
        let sender = outbox.clone();
        let counted = Arc::clone(&unread);
        let no_bridges = Arc::new(AtomicBool::new(false));
        let needless = Arc::clone(&no_bridges);
        thread::Builder::new()
            .name("tables".into())
            .spawn(move || match load(&own, &needless) {
                Ok(datapath) => Worker::run(datapath, &own, outbox, counted, &inbox),
                // The loop may have ended meanwhile.
                Err(error) => drop(outbox.send(Reply::Failed(error))),
            })
            .map_err(AgentError::Thread)?;
        Ok(Self {
            options: options.clone(),
            requests,
            outbox: sender,
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
        self.unread.fetch_sub(1, Ordering::Relaxed);
    }
}

fn generation(
    options: &AgentOptions,
    sizes: TableSizes,
    no_bridges: &AtomicBool,
) -> Result<Datapath, AgentError> {
    Ok(Datapath::load(&LoadOptions {
        config: options.config,
        sizes,
        pins: Some(&options.pins),
        stand_ins: may_bridge(options),
        needless: Some(no_bridges),
        ..LoadOptions::embedded()?
    })?)
}

fn load(options: &AgentOptions, no_bridges: &AtomicBool) -> Result<Datapath, AgentError> {
    let earlier = options.pins.endpoints()?;
    let mut datapath = generation(options, options.sizes, no_bridges)?;
    // Flows under numbers that nobody has must not be taken over by whoever gets the number.
    let live = earlier.iter().map(|endpoint| endpoint.id).collect();
    if let Err(error) = datapath.sweep(&live) {
        tracing::warn!("sweeping flows: {}", causes(&error));
    }
    Ok(datapath)
}

/// Whether filters will perhaps bridge the wait for links: at a first start, or after one that was cut
/// off, on a host with many interfaces.
fn may_bridge(options: &AgentOptions) -> bool {
    let mechanism = options.attach.mechanism();
    let attacher = Attacher::new(options.pins.clone(), mechanism);
    let is_first = attacher.records().is_ok_and(|records| records.is_empty())
        || attacher.filters().is_ok_and(|filters| !filters.is_empty());
    let interfaces = nix::net::if_::if_nameindex();
    mechanism == Mechanism::Tcx
        && is_first
        && interfaces.is_ok_and(|all| all.iter().count() > MANY_INTERFACES)
}

struct Worker {
    tables: TableWriter,
    flows: Sweeper,
    events: EventReader,
    debug: Option<DebugLines>,
    carry: Option<Carry>,
    /// Of generations to whose programs links may lead.
    calls_before: Vec<CallsBefore>,
    /// Of the generation before, while links lead to its programs.
    events_before: Option<EventReader>,
    /// What the programs were told of the node.
    tunnel_ports: Vec<u16>,
    local_routes: Vec<IpNet>,
    ifbs: BTreeSet<u32>,
    pins: PinDir,
    published: bool,
    memory_limit: u64,
    replies: UnboundedSender<Reply>,
    unread: Arc<AtomicUsize>,
    /// Written, but programs do not remember it yet.
    unsettled: bool,
    last_event: Option<Instant>,
}

impl Worker {
    /// Works until the loop ends.
    fn run(
        datapath: Datapath,
        options: &AgentOptions,
        replies: UnboundedSender<Reply>,
        unread: Arc<AtomicUsize>,
        inbox: &Receiver<Request>,
    ) {
        let Datapath {
            tables,
            programs,
            flows,
            events,
            debug,
            carry,
            calls_before,
            ..
        } = datapath;
        let mut worker = Self {
            tables,
            flows,
            events,
            debug,
            carry,
            calls_before: calls_before.into_iter().collect(),
            events_before: None,
            tunnel_ports: Vec::new(),
            local_routes: Vec::new(),
            ifbs: BTreeSet::new(),
            pins: options.pins.clone(),
            published: false,
            memory_limit: u64::from(options.memory_limit) << 20,
            replies,
            unread,
            unsettled: false,
            last_event: None,
        };
        let carries = worker.carry.is_some();
        worker.reply(Reply::Loaded { programs, carries });
        let mut next_tick = Instant::now() + IDLE_TICK;
        loop {
            let wait = next_tick.saturating_duration_since(Instant::now());
            match inbox.recv_timeout(wait) {
                Ok(first) => {
                    let more = inbox.try_iter().take(MOST_REQUESTS);
                    worker.turn(iter::once(first).chain(more));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + worker.tick(now);
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
            Request::Fit { turn, wanted } => {
                let failures = self.tables.fit(&wanted);
                self.written(turn, &failures);
            }
            Request::TunnelPorts(ports) => {
                if let Err(source) = self.tables.set_tunnel_ports(&ports) {
                    let what = names::TUNNEL_PORTS;
                    self.reply(Reply::Failed(AgentError::Map { what, source }));
                }
                self.tunnel_ports = ports;
            }
            Request::LocalRoutes(routes) => {
                if let Err(source) = self.tables.set_local_routes(&routes) {
                    let what = names::LOCALS_V4;
                    self.reply(Reply::Failed(AgentError::Map { what, source }));
                }
                self.local_routes = routes;
            }
            Request::Ifbs(ifbs) => {
                if let Err(source) = self.tables.set_ifbs(&ifbs) {
                    let what = names::POD_LINKS;
                    self.reply(Reply::Failed(AgentError::Map { what, source }));
                }
                self.ifbs = ifbs;
            }
            Request::Replace {
                turn,
                datapath,
                wanted,
            } => self.replace(turn, *datapath, &wanted),
            Request::Retire => {
                self.events_before = None;
                self.calls_before.clear();
            }
            Request::FinishCarry => {
                if self.events_before.is_none() {
                    self.calls_before.clear();
                }
                let Some(carry) = &mut self.carry else { return };
                match carry.finish(&mut self.tables) {
                    Ok(()) => self.carry = None,
                    // Programs go on with two flow tables: slower, and right.
                    Err(error) => tracing::warn!("taking flows along: {}", causes(&error)),
                }
            }
            Request::Publish => {
                let published: Result<(), PinDirError> = self.pins.publish();
                self.published = published.is_ok();
                self.reply(match published {
                    Ok(()) => Reply::Published,
                    Err(error) => Reply::Failed(error.into()),
                });
            }
            Request::Sweep(live) => {
                let began = Instant::now();
                let result = self.flows.sweep(&live);
                if let Err(error) = &result {
                    tracing::warn!("sweeping flows: {}", causes(error));
                }
                self.reply(Reply::Swept {
                    clean: result.is_ok() && !self.tables.is_refused(),
                    took: began.elapsed(),
                });
            }
        }
    }

    fn write(&mut self, ops: Option<(u64, Vec<Op>)>) {
        let Some((turn, ops)) = ops else { return };
        let failures = self.tables.apply(&ops);
        if self.tables.is_exact() {
            self.written(turn, &failures);
        } else {
            self.reply(Reply::Incomplete);
        }
    }

    fn written(&mut self, turn: u64, failures: &[Failure]) {
        let mut failures: Vec<_> = failures.iter().map(ToString::to_string).collect();
        failures.extend(self.settle().err().map(|failure| failure.to_string()));
        let tables = &self.tables;
        let is_exact = tables.is_exact();
        self.reply(Reply::Applied {
            turn,
            state: State {
                is_exact,
                is_refused: tables.is_refused(),
                failures,
                waiting: tables.waiting(),
                short: tables.short().to_vec(),
                packed: tables.packed(),
                sizes: *tables.sizes(),
                growth: tables.grown(self.memory_limit),
                held: if is_exact {
                    BTreeSet::new()
                } else {
                    tables.held()
                },
            },
        });
    }

    fn settle(&mut self) -> Result<(), Failure> {
        self.unsettled = true;
        self.tables.settle()?;
        self.unsettled = false;
        Ok(())
    }

    /// Reads events; returns when to do it again.
    fn tick(&mut self, now: Instant) -> Duration {
        if let Some(debug) = &mut self.debug {
            debug.flush();
        }
        if self.unread.load(Ordering::Relaxed) < MOST_UNREAD {
            let mut events = self.events.read(EVENTS_PER_TICK);
            if let Some(before) = &mut self.events_before {
                events.extend(before.read(EVENTS_PER_TICK));
            }
            if !events.is_empty() {
                self.last_event = Some(now);
                self.unread.fetch_add(1, Ordering::Relaxed);
                self.reply(Reply::Events(events));
            }
        }
        if self.unsettled && self.settle().is_ok() {
            tracing::info!("programs remember what they read again");
        }
        let is_busy = self.last_event.is_some_and(|last| now - last < BUSY);
        if is_busy { BUSY_TICK } else { IDLE_TICK }
    }

    fn reply(&self, reply: Reply) {
        // The loop may have ended: then this thread ends too.
        drop(self.replies.send(reply));
    }
}
