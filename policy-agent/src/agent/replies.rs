//! What the tables' thread answers, and what the loop makes of it.
//!
//! Must not touch maps. Invariant: what the tables refused is known to the loop, and shown, until a
//! later answer says that they hold everything.

use std::time::{Duration, Instant};

use super::{
    Agent, AgentError, LATEST_SWEEP, Phase, SWEEP, SWEEP_SHARE, URGENT_SWEEP, drops,
    hooks::Job,
    shortage,
    tables::{Reply, Request, State},
};

/// How long the end of the process may wait for what was dropped last.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Agent {
    pub(super) fn on_reply(&mut self, reply: Reply) -> Result<(), AgentError> {
        match reply {
            Reply::Loaded => self.loaded = true,
            Reply::InForce { programs, carries } => {
                self.hooks.give(Job::Programs(Box::new(programs)));
                if self.phase.is_begun() {
                    self.on_replaced();
                } else {
                    self.on_first(carries);
                }
            }
            Reply::Applied { turn, state } => self.on_applied(turn, state),
            Reply::Incomplete => self.on_incomplete(),
            Reply::Grown(loaded) => self.on_grown(loaded),
            Reply::NotReplaced(failure) => self.on_not_replaced(failure),
            Reply::Swept { clean, took } => self.on_swept(clean, took),
            Reply::Adopting(endpoints) => self.adopting = endpoints,
            Reply::Events(events) => {
                self.tables.events_read();
                self.report_drops(&events);
            }
            Reply::Untold(drops) => self.report_untold(&drops),
            Reply::ToldLast => {}
            Reply::Failed(error) => return Err(error),
        }
        Ok(())
    }

    /// Tells what was dropped and not told yet, before the process ends.
    pub(super) async fn tell_last(&mut self) {
        if !self.phase.is_begun() {
            return;
        }
        self.tables.ask(Request::TellLast);
        // The thread may be waiting for the kernel.
        let told = async {
            while let Some(reply) = self.tables.replies.recv().await {
                match reply {
                    Reply::ToldLast => return,
                    Reply::Events(events) => self.report_drops(&events),
                    Reply::Untold(drops) => self.report_untold(&drops),
                    _ => {}
                }
            }
        };
        drop(tokio::time::timeout(LAST_WORDS, told).await);
    }

    /// The run's first tables are in force: from now on programs are attached.
    fn on_first(&mut self, carries: bool) {
        self.growth.carries = carries;
        self.phase = Phase::Attaching {
            since: Instant::now(),
        };
        self.take_records();
        self.begin_bridging();
        tracing::info!("the tables are filled; attaching programs");
    }

    pub(super) fn on_applied(&mut self, turn: u64, state: State) {
        self.written = turn;
        self.former.written(turn, drops::since_boot());
        self.is_exact = state.is_exact;
        self.held = state.held;
        self.is_refused = state.is_refused;
        self.sizes = state.sizes;
        self.growth.wanted = state.growth;
        let mut failures = state.failures;
        self.refused_writes = failures.len();
        failures.extend(shortage::describe(
            &state.short,
            state.packed,
            &self.sizes,
            self.growth.exhausted(),
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
    }

    /// A table was full in the middle of a plan: from now on the tables are planned anew from all
    /// that is wanted, until they are exactly that.
    pub(super) fn on_incomplete(&mut self) {
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
    pub(super) fn pod_or_interface(&self, ifindex: u32) -> String {
        let fact = self.ports.get(ifindex).and_then(|port| port.fact.as_ref());
        match fact.and_then(|fact| fact.pod.as_ref()) {
            Some(pod) => pod.to_string(),
            None => self.ports.name(ifindex),
        }
    }

    pub(super) fn on_swept(&mut self, clean: bool, took: Duration) {
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

    pub(super) fn is_number_wanted(&self) -> bool {
        self.ports.iter().any(|(_, port)| port.no_number)
    }
}
