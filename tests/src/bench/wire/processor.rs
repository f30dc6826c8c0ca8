//! The processor on which traffic runs, and nothing else if there are others.

use anyhow::{Context, Result};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

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
    /// The last one that this thread may use.
    pub(super) fn last() -> Result<Self> {
        let allowed = sched_getaffinity(SELF)?;
        let all = (0..CpuSet::count()).rev();
        let mut allowed = all.filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
        allowed.next().map(Self).context("no processor")
    }

    /// Keeps the calling thread on it, for good.
    pub(super) fn enter(self) -> Result<()> {
        let mut one = CpuSet::new();
        one.set(self.0)?;
        Ok(sched_setaffinity(SELF, &one)?)
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
