//! When what is accepted is written for the next run: soon after it changes, and never so often
//! that writing takes more than a small share of the time.

use std::time::{Duration, Instant};

use super::{Manifests, kept::StateFile};
use crate::text::Printable;

/// The pause after writing, as a multiple of what it took.
const PAUSE: u32 = 10;

/// The longest pause, also after a failure.
const LONGEST: Duration = Duration::from_secs(10);

/// Keeps what is accepted in a file.
#[derive(Debug)]
pub(super) struct Keeping {
    file: StateFile,
    /// When to write; `None` when the file says what is accepted.
    due: Option<Instant>,
    /// Not before this.
    rest: Option<Instant>,
    failed: bool,
}

impl Keeping {
    pub(super) fn new(file: StateFile) -> Self {
        Self {
            file,
            due: None,
            rest: None,
            failed: false,
        }
    }

    /// What is accepted changed.
    pub(super) fn touch(&mut self, now: Instant) {
        self.due = Some(self.rest.map_or(now, |rest| rest.max(now)));
    }

    /// When [`Self::write`] is to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Writes what is accepted, if that changed.
    pub(super) fn write(&mut self, manifests: &Manifests) {
        if self.due.take().is_none() {
            return;
        }
        let begin = Instant::now();
        let written = self.file.write(&manifests.revision(), manifests.accepted());
        let end = Instant::now();
        let pause = end.duration_since(begin).saturating_mul(PAUSE).min(LONGEST);
        match written {
            Ok(()) => {
                self.failed = false;
                self.rest = Some(end + pause);
            }
            Err(error) => {
                if !self.failed {
                    let directory = Printable(self.file.directory().display());
                    tracing::error!(
                        "what is accepted cannot be kept for a restart in {directory} (--state-dir): {error}"
                    );
                }
                self.failed = true;
                self.rest = Some(end + LONGEST);
                self.touch(end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_failure_is_tried_again_later_and_a_success_rests_the_pause() {
        let root = tempfile::tempdir().unwrap();
        let blocked = root.path().join("file");
        std::fs::write(&blocked, "").unwrap();
        let manifests = Manifests::default();
        let mut keeping = Keeping::new(StateFile::new(&blocked, Path::new("/m")));
        assert_eq!(keeping.deadline(), None);
        let now = Instant::now();
        keeping.touch(now);
        assert_eq!(keeping.deadline(), Some(now));
        keeping.write(&manifests);
        let again = keeping.deadline().unwrap();
        assert!(again >= now + LONGEST, "not at once");

        std::fs::remove_file(&blocked).unwrap();
        keeping.write(&manifests);
        assert_eq!(keeping.deadline(), None);
        keeping.touch(now);
        assert!(keeping.deadline().unwrap() > now, "after a pause");
    }
}
