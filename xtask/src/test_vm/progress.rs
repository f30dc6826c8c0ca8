//! When a guest is given up: not after a time of its own, which a busy machine stretches, but when
//! nothing has come of it for long.

use std::time::{Duration, Instant};

/// What the test program's lines begin with: passed checks, and lines for the matrix. Each is a step
/// that was done.
const STEPS: [&str; 2] = ["ok: ", "@@"];

/// The longest that a step may take: far above what emulation takes for any (7 s), for busy
/// machines.
const PATIENCE: Duration = Duration::from_secs(180);

/// How far a guest has come.
pub(super) struct Progress {
    steps: usize,
    since: Instant,
}

impl Progress {
    /// A guest that begins now.
    pub(super) fn from(now: Instant) -> Self {
        Self {
            steps: 0,
            since: now,
        }
    }

    /// Looks at everything that the guest has printed so far. Is it to be given up? What a kernel
    /// prints by itself is no progress: it may complain for ever.
    pub(super) fn is_over(&mut self, log: &str, now: Instant) -> bool {
        let is_step = |line: &&str| STEPS.iter().any(|start| line.starts_with(start));
        let steps = log.lines().filter(is_step).count();
        if steps > self.steps {
            self.steps = steps;
            self.since = now;
        }
        now.duration_since(self.since) >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_passes_a_check_now_and_then_may_take_any_time() {
        let began = Instant::now();
        let mut progress = Progress::from(began);
        let mut log = String::new();
        for minute in 1..100_u64 {
            log.push_str("ok: one more\r\n");
            assert!(!progress.is_over(&log, began + Duration::from_secs(60 * minute)));
        }
    }

    #[test]
    fn a_guest_that_only_complains_is_given_up() {
        let began = Instant::now();
        let mut progress = Progress::from(began);
        let log = "ok: one\r\nrcu: stall\r\n".to_owned();
        assert!(!progress.is_over(&log, began + Duration::from_secs(100)));
        let log = log + "rcu: stall\r\nrcu: stall\r\n";
        assert!(!progress.is_over(&log, began + Duration::from_secs(279)));
        assert!(progress.is_over(&log, began + Duration::from_secs(280)));
    }
}
