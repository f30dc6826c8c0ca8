//! The snapshot that is published, and who asks for it.
//!
//! Invariant: asking changes nothing, and holds up nobody: what is given is a copy.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::snapshot::Snapshot;
use crate::{
    control::{self, ControlError, Request},
    datapath::PinDir,
    source::Contact,
    telemetry,
};

/// The snapshot that is in force.
#[derive(Clone, Debug)]
pub(super) struct Published(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    snapshot: Mutex<Arc<Snapshot>>,
    began: Instant,
    /// When it was confirmed last, in milliseconds since `began`.
    confirmed: AtomicU64,
    /// How the source's connections stand, which nobody tells the loop.
    contact: Contact,
}

impl Published {
    pub(super) fn new(contact: Contact) -> Self {
        Self(Arc::new(Shared {
            contact,
            snapshot: Mutex::default(),
            began: Instant::now(),
            confirmed: AtomicU64::new(0),
        }))
    }
}

impl Published {
    /// Puts a snapshot in the place of the last one.
    pub(super) fn publish(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        *self
            .0
            .snapshot
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = snapshot;
        self.confirm();
    }

    /// The last snapshot is as new as now.
    pub(super) fn confirm(&self) {
        self.0.confirmed.store(self.age(0), Ordering::Relaxed);
    }

    /// Milliseconds since a time.
    fn age(&self, since: u64) -> u64 {
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        now.saturating_sub(since)
    }

    /// The snapshot with its age.
    pub(super) fn get(&self) -> Snapshot {
        let shared = self.0.snapshot.lock();
        let mut snapshot = Snapshot::clone(&shared.unwrap_or_else(PoisonError::into_inner));
        snapshot.agent.age_ms = self.age(self.0.confirmed.load(Ordering::Relaxed));
        snapshot.agent.pid = std::process::id();
        snapshot.agent.lost_log_lines = telemetry::lost_lines();
        for source in &mut snapshot.sources {
            source.watches = self.0.contact.status();
            let behind = source.behind_since.map(|since| since.elapsed().as_millis());
            source.behind_ms = behind.map(|ms| ms.try_into().unwrap_or(u64::MAX));
        }
        snapshot
    }
}

/// Asks the agent of a pin directory. `None`: no agent runs there.
///
/// # Errors
/// It does not answer in time, or not in a form that this version reads.
pub fn query(pins: &PinDir) -> Result<Option<Snapshot>, ControlError> {
    control::ask(&pins.socket(), &Request::Status)
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    #[test]
    fn a_snapshot_that_nobody_confirms_grows_old() {
        let published = Published::new(Contact::default());
        published.publish(Snapshot::default());
        thread::sleep(Duration::from_millis(30));
        assert!(published.get().agent.age_ms >= 30);
        published.confirm();
        assert!(published.get().agent.age_ms < 30);
    }
}
