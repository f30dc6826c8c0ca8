//! One program against another, round by round.
//!
//! The machine's speed changes while it is measured, so the two run alternately, in short rounds.
//! The figure is the median of the rounds' differences: the two halves of a round are neighbours
//! in time and see the same machine, and a round that was disturbed counts once, however badly.
//! The minimum is that of the one program less that of the other: what an undisturbed machine
//! would show, while the lowest difference would only say when the baseline was disturbed.

use anyhow::{Context as _, Result, ensure};

use crate::summary::Summary;
use policy_bpf::Run;

/// How long one comparison is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rounds {
    /// How often both run.
    pub(crate) count: usize,
    /// Packets per run.
    pub(crate) repeat: u32,
}

impl Rounds {
    /// Packets that the subject sees, those of the first round included, which does not count.
    pub(crate) const fn packets(self) -> u64 {
        (self.count as u64 + 1) * self.repeat as u64
    }
}

/// A program, and what is subtracted from it.
#[derive(Debug)]
pub(crate) struct Pair {
    /// What is measured.
    pub(crate) subject: Run,
    /// The same without it.
    pub(crate) baseline: Run,
    /// What the subject must return.
    pub(crate) action: i32,
}

/// What TC programs return so that later programs run.
pub(crate) const TC_ACT_UNSPEC: i32 = -1;
/// What TC programs return to drop a packet.
pub(crate) const TC_ACT_SHOT: i32 = 2;

impl Pair {
    /// Nanoseconds per packet above the baseline. `after_run` follows every run of the subject.
    ///
    /// # Errors
    /// The kernel refuses a run, or a program returned something else than it should.
    pub(crate) fn compare(
        &self,
        rounds: Rounds,
        mut after_run: impl FnMut() -> Result<()>,
    ) -> Result<Summary> {
        let mut subject = || -> Result<f64> {
            let time = self.time_subject(rounds.repeat)?;
            after_run()?;
            Ok(time)
        };
        let baseline = || self.time_baseline(rounds.repeat);
        // The first round finds cold caches.
        baseline()?;
        subject()?;
        let mut differences = Vec::new();
        let (mut least, mut least_baseline) = (f64::MAX, f64::MAX);
        for round in 0..rounds.count {
            let (with, without) = if round % 2 == 0 {
                let without = baseline()?;
                (subject()?, without)
            } else {
                (subject()?, baseline()?)
            };
            differences.push(with - without);
            least = least.min(with);
            least_baseline = least_baseline.min(without);
        }
        let summary = Summary::of(&differences).context("no rounds")?;
        Ok(Summary {
            min: least - least_baseline,
            // The differences' spread is the machine's, not the program's.
            p99: None,
            ..summary
        })
    }

    /// Nanoseconds per packet of what is measured.
    ///
    /// # Errors
    /// The kernel refuses, or the program returns something else than it should.
    pub(crate) fn time_subject(&self, repeat: u32) -> Result<f64> {
        time(&self.subject, repeat, self.action)
    }

    /// Nanoseconds per packet of what is subtracted.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn time_baseline(&self, repeat: u32) -> Result<f64> {
        time(&self.baseline, repeat, TC_ACT_UNSPEC)
    }
}

/// Nanoseconds per packet.
fn time(run: &Run, repeat: u32, action: i32) -> Result<f64> {
    let (returned, elapsed) = run.repeat(repeat)?;
    ensure!(
        returned == action,
        "returned {returned} instead of {action}"
    );
    Ok(elapsed.as_secs_f64() * 1e9 / f64::from(repeat))
}
