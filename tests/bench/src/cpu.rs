//! A thread that stays on one processor and is not interrupted by others while it measures.
#![expect(unsafe_code, reason = "libc has no safe call for the scheduler")]

use std::mem;

use anyhow::{Context as _, Result};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// Above ordinary processes, below the kernel's own threads.
const PRIORITY: libc::c_int = 50;

/// The calling thread on one processor, in real time where that is allowed; dropping it undoes
/// both.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// Moves the calling thread.
    ///
    /// # Errors
    /// There is no such processor.
    pub(crate) fn to(cpu: usize) -> Result<Self> {
        let this = Pid::from_raw(0);
        let before = sched_getaffinity(this)?;
        let mut only = CpuSet::new();
        only.set(cpu)?;
        sched_setaffinity(this, &only).with_context(|| format!("moving to processor {cpu}"))?;
        // Without it figures are noisier, not wrong.
        let _allowed: bool = schedule(libc::SCHED_FIFO, PRIORITY);
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _restored: bool = schedule(libc::SCHED_OTHER, 0);
        if let Err(error) = sched_setaffinity(Pid::from_raw(0), &self.before) {
            eprintln!("warning: this thread stays on one processor: {error}");
        }
    }
}

/// The processors that this thread may use, lowest first.
///
/// # Errors
/// The kernel's reason.
pub(crate) fn available() -> Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count())
        .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
        .collect())
}

/// The processor for a single measuring thread: the last one, for the first has more interrupts.
///
/// # Errors
/// The kernel's reason.
pub(crate) fn last() -> Result<usize> {
    available()?.pop().context("no processor")
}

fn schedule(policy: libc::c_int, priority: libc::c_int) -> bool {
    // SAFETY: the structure is plain numbers, for which zero is a value.
    let mut parameter: libc::sched_param = unsafe { mem::zeroed() };
    parameter.sched_priority = priority;
    // SAFETY: the kernel reads the structure; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) == 0 }
}
