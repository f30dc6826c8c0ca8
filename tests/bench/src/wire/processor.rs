//! The processor on which traffic runs, and nothing else if there are others.

use anyhow::Result;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use crate::cpu::{self, Pinned};

/// The calling thread.
const SELF: Pid = Pid::from_raw(0);

/// One processor of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Processor(usize);

/// Keeps a thread, and what it starts, away from a processor until it is dropped.
#[derive(Debug)]
pub(super) struct Away {
    before: CpuSet,
}

impl Processor {
    /// The one on which this machine measures.
    pub(super) fn last() -> Result<Self> {
        cpu::last().map(Self)
    }

    /// Keeps the calling thread on it.
    pub(super) fn enter(self) -> Result<Pinned> {
        Pinned::to(self.0)
    }

    /// Keeps the calling thread away from it, if there are others.
    pub(super) fn leave(self) -> Result<Away> {
        let before = sched_getaffinity(SELF)?;
        let mut others = before;
        others.unset(self.0)?;
        if others != CpuSet::new() {
            sched_setaffinity(SELF, &others)?;
        }
        Ok(Away { before })
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        if let Err(error) = sched_setaffinity(SELF, &self.before) {
            eprintln!("this thread stays away from a processor: {error}");
        }
    }
}
