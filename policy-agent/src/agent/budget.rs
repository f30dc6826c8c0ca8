//! How many lines somebody who lives in a pod can make the log grow by: what comes in a burst is counted.
//!
//! Must not know what the lines say.

use std::time::{Duration, Instant};

/// Lines in a window.
const MOST: usize = 20;
/// How long it lasts, from its first line.
const WINDOW: Duration = Duration::from_secs(10);

/// Lines that may be written.
#[derive(Debug, Default)]
pub(super) struct Budget {
    since: Option<Instant>,
    spent: usize,
    unsaid: usize,
}

impl Budget {
    /// Whether a line may be written now; one that may not is counted.
    pub(super) fn spend(&mut self, now: Instant) -> bool {
        self.since.get_or_insert(now);
        let may = self.spent < MOST;
        self.spent += usize::from(may);
        self.unsaid += usize::from(!may);
        may
    }

    /// How many lines were not written in the window that is over.
    pub(super) fn renew(&mut self, now: Instant) -> usize {
        if self.since.is_none_or(|since| now < since + WINDOW) {
            return 0;
        }
        std::mem::take(self).unsaid
    }

    /// When the lines that were not written are to be told of.
    pub(super) fn due(&self) -> Option<Instant> {
        self.since
            .filter(|_| self.unsaid > 0)
            .map(|since| since + WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_its_first_lines_and_a_count() {
        let (mut budget, begin) = (Budget::default(), Instant::now());
        let said = (0..500).filter(|_| budget.spend(begin)).count();
        assert_eq!((said, budget.renew(begin)), (MOST, 0));
        let end = budget.due().unwrap();
        assert_eq!(budget.renew(end), 500 - MOST);
        assert_eq!((budget.renew(end), budget.due()), (0, None));
        assert!(budget.spend(end), "another window");
    }
}
