//! Larger tables when those of policy are full.
//!
//! Owns when a larger generation is loaded, and when the one before is over. Must not touch maps or
//! hooks. Invariant: while a generation is loaded or links move to it, no other one is begun.

use std::time::{Duration, Instant};

use super::{
    Agent, Phase,
    hook_state::{HookRecord, HookState},
    tables::Request,
};
use crate::datapath::{Loaded, TableSizes};

/// How long tables stay as they are after they could not grow.
const PAUSE: Duration = Duration::from_secs(30);

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing is under way.
    Idle,
    /// A larger generation is being loaded or filled.
    Loading,
    /// Links move to it.
    Moving {
        /// Since when.
        since: Instant,
    },
}

/// What is known of the growth of the tables.
#[derive(Debug)]
pub(super) struct Growth {
    /// How large the tables may become, where what is wanted has no room.
    pub(super) wanted: Option<TableSizes>,
    /// How many generations this run had before.
    pub(super) generation: u64,
    /// Until links have moved, programs need the flow tables of the run before.
    pub(super) carries: bool,
    limit: u32,
    step: Step,
    next: Instant,
}

impl Growth {
    /// `limit` in MiB.
    pub(super) fn new(limit: u32, now: Instant) -> Self {
        Self {
            wanted: None,
            generation: 0,
            carries: false,
            limit,
            step: Step::Idle,
            next: now,
        }
    }

    /// The limit, where it is the reason why a full table does not grow.
    pub(super) fn exhausted(&self) -> Option<u32> {
        (self.limit > 0 && self.wanted.is_none()).then_some(self.limit)
    }

    /// Whether larger tables can be waited for: it has not just failed to make them.
    pub(super) fn may_come(&self, now: Instant) -> bool {
        self.step != Step::Idle || now >= self.next
    }
}

impl Agent {
    /// Begins what is due, and ends what is over.
    pub(super) fn grow(&mut self, now: Instant) {
        if let Step::Moving { since } = self.growth.step
            && !self.is_any_outdated()
        {
            self.growth.step = Step::Idle;
            self.tables.ask(Request::Retire);
            tracing::info!(
                took_ms = now.saturating_duration_since(since).as_millis(),
                "all programs read the larger tables"
            );
        }
        let may_begin = match self.phase {
            Phase::Waiting | Phase::Filling | Phase::Attaching { .. } => false,
            Phase::Enforcing => self.is_carry_over || !self.growth.carries,
        };
        if self.growth.step != Step::Idle || !may_begin || now < self.growth.next {
            return;
        }
        if let Some(sizes) = self.growth.wanted {
            self.growth.step = Step::Loading;
            tracing::info!("loading larger tables beside the full ones");
            self.tables.grow(sizes);
        }
    }

    /// Larger tables are there: everything goes into them.
    pub(super) fn on_grown(&mut self, loaded: Box<Loaded>) {
        self.turn += 1;
        self.tables.ask(Request::Replace {
            turn: self.turn,
            loaded,
            wanted: self.resolver.full(),
        });
    }

    /// They are in force: the links are to lead to their programs.
    pub(super) fn on_replaced(&mut self) {
        self.growth.generation += 1;
        self.growth.step = Step::Moving {
            since: Instant::now(),
        };
        for (_, port) in self.ports.iter_mut() {
            for record in &mut port.hooks {
                let has_program =
                    !matches!(record.state, HookState::Absent | HookState::Failed { .. });
                record.outdated |= has_program;
            }
        }
    }

    /// The tables stay as they are.
    pub(super) fn on_not_replaced(&mut self, failure: Option<String>) {
        self.growth.step = Step::Idle;
        if let Some(failure) = failure {
            self.growth.next = Instant::now() + PAUSE;
            // What waited for them does not any longer.
            self.dirty = true;
            tracing::error!("the tables cannot grow: {failure}");
        }
    }

    /// Whether links are still to lead to programs of this generation. Where that failed, the
    /// interface is shown as not enforced, and tried again.
    pub(super) fn is_any_outdated(&self) -> bool {
        let is_outdated =
            |hook: &HookRecord| hook.outdated && !matches!(hook.state, HookState::Failed { .. });
        self.ports
            .iter()
            .any(|(_, port)| port.hooks.iter().any(is_outdated))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_tables_are_not_waited_for_after_they_could_not_be_made() {
        let now = Instant::now();
        let mut growth = Growth::new(64, now);
        assert!(growth.may_come(now));
        growth.next = now + PAUSE;
        assert!(!growth.may_come(now));
        assert!(growth.may_come(now + PAUSE));
        growth.step = Step::Loading;
        assert!(growth.may_come(now), "they are being made");
    }
}
