//! When what nothing uses is taken back from the tables.
//!
//! Knows neither tables nor clocks: it is told what happened when. Invariant: a change is followed
//! by a collection within [`LATEST`], however many changes follow it.

use std::time::{Duration, Instant};

/// How long nothing must change: a collection moves addresses and waits for programs, and what is
/// unused now may be used again by the next change of the same rollout.
const IDLE: Duration = Duration::from_secs(1);
/// How long a change waits for such a pause: under steady changes it never comes.
const LATEST: Duration = Duration::from_secs(5);

/// The changes since the last collection.
#[derive(Debug, Default)]
pub(super) struct Collection {
    pending: Option<Pending>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    first: Instant,
    last: Instant,
}

impl Collection {
    /// The tables changed.
    pub(super) fn changed(&mut self, now: Instant) {
        let first = self.pending.map_or(now, |pending| pending.first);
        self.pending = Some(Pending { first, last: now });
    }

    /// When the next collection is due, if no further change puts it off.
    pub(super) fn due(&self) -> Option<Instant> {
        let pending = self.pending?;
        Some((pending.last + IDLE).min(pending.first + LATEST))
    }

    /// Whether to collect now; if so, what changed before is done with. A table that refuses
    /// writes (`refused`) waits for no pause: a collection makes room, and tries them again.
    pub(super) fn take_due(&mut self, now: Instant, refused: bool) -> bool {
        let is_over = |pending: Pending| {
            now.duration_since(pending.last) >= IDLE || now.duration_since(pending.first) >= LATEST
        };
        let due = refused || self.pending.is_some_and(is_over);
        if due {
            self.pending = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long after the first of changes at a steady interval the collection comes.
    fn wait(interval: Duration, refused: bool) -> Option<Duration> {
        let tick = Duration::from_millis(100);
        let start = Instant::now();
        let mut collection = Collection::default();
        let (mut now, mut next) = (start, start);
        while now < start + Duration::from_secs(60) {
            if now >= next {
                collection.changed(now);
                next += interval;
            }
            if collection.take_due(now, refused) {
                return Some(now - start);
            }
            now += tick;
        }
        None
    }

    #[test]
    fn a_pause_is_used() {
        assert_eq!(wait(Duration::from_secs(3600), false), Some(IDLE));
    }

    #[test]
    fn steady_changes_do_not_put_it_off_for_ever() {
        assert_eq!(wait(Duration::from_millis(100), false), Some(LATEST));
        assert_eq!(wait(Duration::from_millis(900), false), Some(LATEST));
    }

    #[test]
    fn a_full_table_waits_for_no_pause() {
        assert_eq!(wait(Duration::from_millis(100), true), Some(Duration::ZERO));
    }

    #[test]
    fn it_comes_once_for_what_changed() {
        let start = Instant::now();
        let mut collection = Collection::default();
        assert!(!collection.take_due(start, false));
        collection.changed(start);
        assert!(collection.take_due(start + LATEST, false));
        assert!(!collection.take_due(start + 2 * LATEST, false));
        // The next change has its own time.
        collection.changed(start + 2 * LATEST);
        assert!(!collection.take_due(start + 2 * LATEST, false));
    }
}
