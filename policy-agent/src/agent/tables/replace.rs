//! Larger tables in the place of full ones, while the programs run.
//!
//! The larger generation is loaded in a thread of its own beside the one in force, filled here from all
//! that is wanted, and its pins replace the old ones: from then on this thread writes it alone. Whoever
//! owns the hooks moves the links, one by one. Flows are in maps that both generations share. Invariant:
//! until a link has moved its program reads the tables as they were when they were full.

use std::{sync::Arc, thread};

use super::{Reply, Tables, Worker, generation};
use crate::{
    agent::causes,
    datapath::{Datapath, Failure, PinDirError, TableSizes},
};

impl Tables {
    /// Loads a generation with tables of these sizes; the answer is [`Reply::Grown`], or
    /// [`Reply::NotReplaced`].
    pub(in crate::agent) fn grow(&self, sizes: TableSizes) {
        let (options, outbox) = (self.options.clone(), self.outbox.clone());
        let no_bridges = Arc::clone(&self.no_bridges);
        let load = move || {
            let loaded = options
                .pins
                .clear_next()
                .map_err(Into::into)
                .and_then(|()| generation(&options, sizes, &no_bridges));
            let reply = match loaded {
                Ok(datapath) => Reply::Grown(Box::new(datapath)),
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
    pub(super) fn replace(&mut self, turn: u64, mut datapath: Datapath, wanted: &[super::Op]) {
        if self.tables.is_exact() {
            // There is room again.
            self.keep(None);
            return self.written(turn, &[]);
        }
        if let Err(failure) = self.fill(&mut datapath, wanted) {
            self.keep(Some(failure));
            let failures = self.tables.fit(wanted);
            return self.written(turn, &failures);
        }
        if self.published {
            let published: Result<(), PinDirError> = self.pins.publish();
            if let Err(error) = published {
                return self.reply(Reply::Failed(error.into()));
            }
        }
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
        self.tables = tables;
        self.flows = flows;
        self.carry = carry;
        self.calls_before.extend(calls_before);
        self.debug = debug;
        self.events_before = Some(std::mem::replace(&mut self.events, events));
        self.reply(Reply::Replaced(programs));
        self.written(turn, &[]);
    }

    /// Writes everything into the tables of another generation.
    fn fill(&self, datapath: &mut Datapath, wanted: &[super::Op]) -> Result<(), String> {
        let told = |result: Result<(), aya::maps::MapError>| result.map_err(|error| causes(&error));
        datapath.tables.succeed(&self.tables);
        told(datapath.tables.set_tunnel_ports(&self.tunnel_ports))?;
        told(datapath.tables.set_local_routes(&self.local_routes))?;
        told(datapath.tables.set_ifbs(&self.ifbs))?;
        let refused = datapath.tables.fit(wanted);
        let settled = datapath.tables.settle().err();
        let failure = refused.first().or(settled.as_ref());
        failure.map_or(Ok(()), |failure: &Failure| Err(failure.to_string()))
    }

    /// Goes on with the tables that there are.
    fn keep(&self, failure: Option<String>) {
        if let Err(error) = self.pins.clear_next() {
            tracing::warn!("{}", causes(&error));
        }
        self.reply(Reply::NotReplaced(failure));
    }
}
