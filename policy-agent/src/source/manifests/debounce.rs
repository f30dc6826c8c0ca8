//! When a file that is changing has come to rest.
//!
//! Pure: events and instants in, due names out. A file is read shortly after its last event; one
//! that a writer has open only after it was closed, so that no half-written state is taken for what
//! was meant.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Editors replace a file in several steps within this time.
const REST: Duration = Duration::from_millis(100);

/// A file that never rests is read after this time.
const PATIENCE: Duration = Duration::from_millis(400);

/// A writer that has not written for this long will not close the file either.
const WRITER_GONE: Duration = Duration::from_secs(10);

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touch {
    /// Somebody writes to it.
    Written,
    /// It is complete, or gone.
    Done,
    /// Something about it changed, such as its mode; a writer may still be at work.
    Noticed,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    first: Instant,
    last: Instant,
    writing: bool,
}

impl Pending {
    fn deadline(&self) -> Instant {
        if self.writing {
            self.last + WRITER_GONE
        } else {
            (self.last + REST).min(self.first + PATIENCE)
        }
    }
}

/// Names that have changed and are not read again yet. `None` stands for the whole directory.
#[derive(Debug, Default)]
pub(super) struct Debounce(BTreeMap<Option<Arc<str>>, Pending>);

impl Debounce {
    /// Something happened to a file, or to the directory.
    pub(super) fn touch(&mut self, name: Option<Arc<str>>, touch: Touch, now: Instant) {
        let pending = self.0.entry(name).or_insert(Pending {
            first: now,
            last: now,
            writing: false,
        });
        let writing = match touch {
            Touch::Written => true,
            Touch::Done => false,
            Touch::Noticed => pending.writing,
        };
        if pending.writing && !writing {
            pending.first = now;
        }
        pending.last = now;
        pending.writing = writing;
    }

    /// When the next name is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.values().map(Pending::deadline).min()
    }

    /// Whether somebody is writing to the file.
    pub(super) fn is_written(&self, name: &str) -> bool {
        self.0.iter().any(|(pending, state)| {
            state.writing && pending.as_deref().is_some_and(|pending| pending == name)
        })
    }

    /// When the next name is due that is not due yet.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let deadlines = self.0.values().map(Pending::deadline);
        deadlines.filter(|deadline| *deadline > now).min()
    }

    /// The files that are due, which stay so until they are taken.
    pub(super) fn rested(&self, now: Instant) -> impl Iterator<Item = Arc<str>> {
        let due = self
            .0
            .iter()
            .filter(move |(_, pending)| pending.deadline() <= now);
        due.filter_map(|(name, _)| name.clone())
    }

    /// Takes a file, if it is there.
    pub(super) fn take(&mut self, name: &Arc<str>) {
        self.0.remove(&Some(Arc::clone(name)));
    }

    /// Takes the names that are due.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Option<Arc<str>>> {
        let due = self
            .0
            .extract_if(.., |_, pending| pending.deadline() <= now);
        due.map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Option<Arc<str>> {
        Some("a.yaml".into())
    }

    #[test]
    fn a_complete_file_is_due_when_it_has_rested() {
        let start = Instant::now();
        let mut debounce = Debounce::default();
        debounce.touch(name(), Touch::Done, start);
        assert_eq!(debounce.due(start), []);
        assert_eq!(debounce.deadline(), Some(start + REST));
        assert_eq!(debounce.due(start + REST), [name()]);
        assert_eq!(debounce.deadline(), None);
    }

    #[test]
    fn an_open_file_is_not_due_until_it_is_closed() {
        let start = Instant::now();
        let mut debounce = Debounce::default();
        debounce.touch(name(), Touch::Written, start);
        assert_eq!(debounce.due(start + 2 * PATIENCE), []);
        debounce.touch(name(), Touch::Noticed, start + 2 * PATIENCE);
        assert!(debounce.is_written("a.yaml"));
        let closed = start + 3 * PATIENCE;
        debounce.touch(name(), Touch::Done, closed);
        assert_eq!(debounce.due(closed), []);
        assert_eq!(debounce.due(closed + REST), [name()]);
    }

    #[test]
    fn a_writer_that_never_closes_does_not_hide_the_file_forever() {
        let start = Instant::now();
        let mut debounce = Debounce::default();
        debounce.touch(name(), Touch::Written, start);
        assert_eq!(debounce.due(start + WRITER_GONE), [name()]);
    }

    #[test]
    fn a_file_that_never_rests_is_due_all_the_same() {
        let start = Instant::now();
        let mut debounce = Debounce::default();
        let mut now = start;
        while now < start + PATIENCE {
            assert_eq!(debounce.due(now), []);
            debounce.touch(name(), Touch::Done, now);
            now += REST / 2;
        }
        assert_eq!(debounce.due(start + PATIENCE), [name()]);
    }
}
