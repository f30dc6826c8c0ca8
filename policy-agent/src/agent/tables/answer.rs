//! What the thread of the tables says to the loop.

use std::collections::BTreeSet;

use super::{Reply, State, Worker};
use crate::datapath::{Failure, TableError};

impl Worker {
    pub(super) fn written(&mut self, turn: u64, failures: &[Failure]) {
        let mut failures: Vec<_> = failures.iter().map(ToString::to_string).collect();
        failures.extend(self.settle().err().map(|failure| failure.to_string()));
        let tables = &self.now.tables;
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

    pub(super) fn settle(&mut self) -> Result<(), Failure> {
        self.unsettled = true;
        self.now.tables.settle()?;
        self.unsettled = false;
        Ok(())
    }

    /// The agent cannot go on without it.
    pub(super) fn must(&self, told: Result<(), TableError>) {
        if let Err(error) = told {
            self.reply(Reply::Failed(error.into()));
        }
    }

    pub(super) fn reply(&self, reply: Reply) {
        // The loop may have ended: then this thread ends too.
        drop(self.replies.send(reply));
    }
}
