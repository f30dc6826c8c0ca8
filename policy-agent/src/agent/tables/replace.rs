//! Another generation in the place of the one before: at a start, after an upgrade, and with larger tables
//! while the programs run.
//!
//! A larger generation is loaded in a thread of its own beside the one in force, filled here from all
//! that is wanted, and its pins replace the old ones: from then on this thread writes it alone. Whoever
//! owns the hooks moves the links, one by one. Flows are in maps that both generations share. Invariant:
//! until a link has moved its program reads the tables as they were when they were full.

use std::{mem, thread, time::Instant};

use policy_core::plan::Op;

use super::{Loader, Reply, Tables, Worker};
use crate::{
    agent::{AgentError, causes},
    datapath::{Datapath, Filled, Loaded, NodeFacts, Programs, TableSizes},
};

/// Fills the first generation of a run, or a larger one where it has no room for everything and `limit`
/// bytes allow that: nobody reads it yet.
pub(super) fn fill(
    loader: &Loader,
    loaded: Loaded,
    node: &NodeFacts,
    wanted: &[Op],
    limit: u64,
) -> Result<Filled, AgentError> {
    let mut filled = loaded.fill(node, wanted)?;
    while let Some(sizes) = filled.grown(limit) {
        tracing::info!(
            "loading larger tables: those of the given sizes have no room for everything"
        );
        let larger = loader
            .load(sizes)
            .and_then(|one| Ok(one.fill(node, wanted)?));
        filled = match larger {
            Ok(larger) if larger.refused().is_empty() => larger,
            other => {
                let why = other.map_or_else(|error| causes(&error), |larger| refused(&larger));
                tracing::error!("the tables cannot grow: {why}");
                break;
            }
        };
    }
    Ok(filled)
}

fn refused(filled: &Filled) -> String {
    filled
        .refused()
        .first()
        .map(ToString::to_string)
        .unwrap_or_default()
}

impl Tables {
    /// Loads a generation with tables of these sizes; the answer is [`Reply::Grown`], or
    /// [`Reply::NotReplaced`].
    pub(in crate::agent) fn grow(&self, sizes: TableSizes) {
        let (loader, outbox) = (self.loader.clone(), self.outbox.clone());
        let load = move || {
            let reply = match loader.load(sizes) {
                Ok(loaded) => Reply::Grown(Box::new(loaded)),
                Err(error) => Reply::NotReplaced(Some(causes(&error))),
            };
            // The loop may have ended meanwhile.
            drop(outbox.send(reply));
        };
        if let Err(error) = thread::Builder::new().name("growth".into()).spawn(load) {
            drop(
                self.outbox
                    .send(Reply::NotReplaced(Some(error.to_string()))),
            );
        }
    }
}

impl Worker {
    pub(super) fn replace(&mut self, turn: u64, mut loaded: Loaded, wanted: &[Op]) {
        if self.now.tables.is_exact() {
            // There is room again.
            self.reply(Reply::NotReplaced(None));
            return self.written(turn, &[]);
        }
        if self.adoption.foresee_all(wanted, Instant::now()) {
            self.adopt_first();
        }
        loaded.succeed(&self.now.tables);
        let filled = match loaded.fill(&self.node, wanted) {
            Ok(filled) if filled.refused().is_empty() => filled,
            other => {
                let why = other.map_or_else(|error| causes(&error), |filled| refused(&filled));
                self.reply(Reply::NotReplaced(Some(why)));
                let failures = self.now.tables.fit(wanted, 0);
                return self.written(turn, &failures);
            }
        };
        match filled.enforce() {
            Ok(Datapath {
                programs,
                generation,
            }) => {
                let before = mem::replace(&mut self.now, generation);
                self.events_before = Some(before.events);
                self.in_force(programs);
                self.written(turn, &[]);
            }
            Err(error) => self.reply(Reply::Failed(error.into())),
        }
    }

    /// Tells the loop that the programs of the generation in force are these.
    pub(super) fn in_force(&self, programs: Programs) {
        let carries = self.now.carry.is_some();
        self.reply(Reply::InForce { programs, carries });
    }

    /// No link leads to programs of generations before any more.
    pub(super) fn retire(&self) {
        if let Err(error) = self.pins.retire() {
            tracing::warn!("{}", causes(&error));
        }
    }
}
