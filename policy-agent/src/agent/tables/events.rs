//! When events are read, and when it is told what has none.
//!
//! Must not know what an event means. Invariant: what the loop has not dealt with waits in the kernel, where
//! it is bounded and what has no room is counted.

use std::{
    iter,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{Reply, Worker};

/// How often events are read while there are some: the programs wake nobody.
const BUSY_TICK: Duration = Duration::from_millis(100);
/// How often while there are none.
pub(super) const IDLE_TICK: Duration = Duration::from_millis(400);
/// How long events are looked for more often after the last one.
const BUSY: Duration = Duration::from_secs(2);
/// How often it is told how many drops have no event, though no further one of the pod says so.
pub(super) const UNTOLD: Duration = Duration::from_secs(5);
/// Events that are read at once; the rest waits for the next tick.
const EVENTS_PER_TICK: usize = 512;
/// Readings of events that may wait for the loop; further ones wait in the kernel, which counts
/// what it has no room for.
const MOST_UNREAD: usize = 4;
/// Events that are read when the agent ends: what comes faster than it is read has no end.
const MOST_LAST: usize = 8 * EVENTS_PER_TICK;

impl Worker {
    /// Tells how many drops have no event.
    pub(super) fn tell_untold(&mut self) {
        self.next_untold = Instant::now() + UNTOLD;
        let now = iter::once(&mut self.now.events);
        for reader in now.chain(&mut self.events_before) {
            match reader.untold() {
                Ok(drops) if drops.is_empty() => {}
                Ok(drops) => drop(self.replies.send(Reply::Untold(drops))),
                Err(error) => tracing::warn!("reading how much was dropped: {error}"),
            }
        }
    }

    /// Tells all that was dropped until now, for the last time.
    pub(super) fn tell_last(&mut self) {
        let now = iter::once(&mut self.now.events);
        for reader in now.chain(&mut self.events_before) {
            let events = reader.read(MOST_LAST);
            if !events.is_empty() {
                drop(self.replies.send(Reply::Events(events)));
            }
        }
        self.tell_untold();
        self.reply(Reply::ToldLast);
    }

    /// Reads events; returns when to do it again.
    pub(super) fn tick(&mut self, now: Instant) -> Duration {
        if let Some(debug) = &mut self.now.debug {
            debug.flush();
        }
        if self.unread.load(Ordering::Relaxed) < MOST_UNREAD {
            let mut events = self.now.events.read(EVENTS_PER_TICK);
            if let Some(before) = &mut self.events_before {
                events.extend(before.read(EVENTS_PER_TICK));
            }
            if !events.is_empty() {
                self.last_event = Some(now);
                self.unread.fetch_add(1, Ordering::Relaxed);
                self.reply(Reply::Events(events));
            }
        }
        if now >= self.next_untold {
            self.tell_untold();
        }
        if self.unsettled && self.settle().is_ok() {
            tracing::info!("programs remember what they read again");
        }
        let is_busy = self.last_event.is_some_and(|last| now - last < BUSY);
        if is_busy { BUSY_TICK } else { IDLE_TICK }
    }
}
