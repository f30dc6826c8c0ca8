//! One turn of the loop: everything that follows from the inputs that were drained.
//!
//! Owns when changes are committed, sent to the tables, collected and swept, and when the loop has to
//! turn though nothing comes. Must not wait for the kernel. Invariant: operations are sent in the order
//! of the commits that made them, one number a turn.

use std::time::Instant;

use policy_core::{model::Change, plan::Op};

use super::{Agent, HEARTBEAT, NodeSynced, Phase, RETRY, URGENT_SWEEP, VERIFY, tables::Request};

impl Agent {
    /// Everything that follows from what was taken in.
    pub(super) fn turn(&mut self, now: Instant) {
        self.write_locals();
        self.begin();
        self.remember();
        self.write_services(now);
        self.commit(now);
        self.reconcile(now);
        self.settle_source();
        self.report_alarms(now);
        self.report_ways(now);
        self.maintain(now);
        self.grow(now);
        self.publish(now);
    }

    /// Tells the resolver; what follows is committed at the end of the turn.
    pub(super) fn change(&mut self, change: Change) {
        self.resolver.apply(change);
        self.dirty = true;
    }

    pub(super) fn commit(&mut self, now: Instant) {
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
        self.want_exits();
        self.report_conflicts();
        self.send(ops, now);
    }

    pub(super) fn send(&mut self, ops: Vec<Op>, now: Instant) {
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
            let may_grow = self.growth.may_come(now);
            Request::Fit {
                turn,
                wanted,
                may_grow,
            }
        });
    }

    /// Once everything is known: has the tables filled and the pins replaced.
    pub(super) fn begin(&mut self) {
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
        self.recall_lost(Instant::now());
        let ops = self.resolver.commit();
        self.want_exits();
        let wanted = self.renumber(ops);
        self.report_conflicts();
        self.attribution.record(&wanted, &self.resolver);
        self.collection.changed(Instant::now());
        self.turn += 1;
        let turn = self.turn;
        self.tables.ask(Request::Enforce { turn, wanted });
    }

    /// What is due by the clock.
    pub(super) fn maintain(&mut self, now: Instant) {
        if !self.phase.is_begun() {
            return;
        }
        if now >= self.next_verify {
            self.next_verify = now + VERIFY;
            self.look_again(None);
            self.reconcile(now);
        }
        if !self.is_carry_over && self.have_links_moved() {
            self.is_carry_over = true;
            self.tables.ask(Request::FinishCarry);
        }
        // A pod waits for a number that waits for a sweep.
        if self.ids.is_any_resting() && self.is_number_wanted() {
            self.next_sweep = self.next_sweep.min(now + URGENT_SWEEP);
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

    /// When the loop has to turn though nothing comes.
    pub(super) fn next_due(&self) -> Instant {
        let now = Instant::now();
        let mut due = now + HEARTBEAT;
        if self.phase.is_begun() {
            let retry = self.is_refused.then_some(self.next_retry);
            let wanted = [
                self.ports.next_due(now),
                self.collection.due(),
                retry.filter(|retry| *retry > now),
                self.pace.due(),
                self.ways.due(now),
                Some(self.next_verify),
            ];
            due = wanted.into_iter().flatten().fold(due, Instant::min);
            if !self.sweeping && self.forgetting == 0 {
                due = due.min(self.next_sweep);
            }
        }
        due
    }

    pub(super) fn report_conflicts(&mut self) {
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
