//! When a directory is taken to be complete at the start: whoever fills it does it file by file.
//!
//! Pure: events and instants in, a deadline out. Before it nothing is decided, so that a policy that is
//! still to come is not missed; the programs are loaded meanwhile, which takes longer.

use std::time::{Duration, Instant};

/// How long nothing happens in a directory that is complete.
const QUIET: Duration = Duration::from_millis(300);

/// A directory in which something always happens is taken as it is after this time.
const PATIENCE: Duration = Duration::from_secs(3);

/// A directory that was read once, and may be filling.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    last: Instant,
    latest: Instant,
}

impl Opening {
    /// It was read.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last: now,
            latest: now + PATIENCE,
        }
    }

    /// Something happened.
    pub(super) fn touch(&mut self, now: Instant) {
        self.last = now;
    }

    /// From when on it is complete.
    pub(super) fn deadline(&self) -> Instant {
        (self.last + QUIET).min(self.latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_fills_is_waited_for_but_not_for_ever() {
        let start = Instant::now();
        let mut opening = Opening::new(start);
        assert_eq!(opening.deadline(), start + QUIET);
        let later = start + QUIET / 2;
        opening.touch(later);
        assert_eq!(opening.deadline(), later + QUIET);
        opening.touch(start + PATIENCE);
        assert_eq!(opening.deadline(), start + PATIENCE);
    }
}
