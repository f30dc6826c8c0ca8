//! What is known of one hook of one interface, and how observations change it.
//!
//! Knows neither kernel nor clock. Invariant: whether a hook is enforced is read from the last
//! observation; nothing here is remembered after its cause is gone.

use std::time::{Duration, Instant};

/// The pause after the first failure; it doubles with every further one.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between two tries.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(16);
/// How long a program rests between two moves to the front: whoever does the same is not fought
/// without a pause. Doubles while the place is fought for.
pub(super) const FIRST_REST: Duration = Duration::from_secs(1);
/// The longest rest between two moves.
pub(super) const LONGEST_REST: Duration = Duration::from_secs(8);
/// After a move or an attach in the place of one that somebody took off, it is looked so often whether it
/// lasted: links of other programs are not announced.
pub(super) const SUSPICION: Duration = Duration::from_secs(1);
/// A place that was kept for so long is not fought for any more.
pub(super) const CALM: Duration = Duration::from_secs(60);

/// What was seen last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum HookState {
    /// Nothing of ours.
    #[default]
    Absent,
    /// Perhaps a program of an earlier run: its records say so.
    Unknown,
    /// Ours is the first, by a filter that stands there until the link does.
    Bridged {
        /// The kernel's id of the program.
        prog_id: u32,
        /// The link was refused: when it is tried again.
        next_try: Option<Instant>,
    },
    /// Ours is the first in its chain.
    Attached {
        /// The kernel's id of the program.
        prog_id: u32,
    },
    /// Others run before ours, which is there.
    Behind {
        /// Their names, or numbers where they have none.
        names: Vec<String>,
        /// Nothing can be put before one of them.
        fixed: bool,
    },
    /// The last action failed.
    Failed {
        /// The cause.
        error: Cause,
        /// When it is tried again.
        next_try: Instant,
    },
}

/// Why something failed, and what a person can do about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cause {
    /// The error with its causes.
    pub(super) error: String,
    /// What helps, where something does.
    pub(super) remedy: Option<String>,
    /// The interface was not there: its end is announced, or was a moment ago.
    pub(super) gone: bool,
}

/// What an action found or left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Ours is the first.
    Front {
        /// The kernel's id of the program.
        prog_id: u32,
        /// It stands there by a filter for the time being.
        bridged: bool,
    },
    /// Ours is there, behind others.
    Behind {
        /// Their names.
        names: Vec<String>,
        /// Nothing can be put before one of them.
        fixed: bool,
    },
    /// Ours is not there.
    Missing,
    /// No filter may bridge the wait for the link here.
    NoBridge,
    /// The kernel refused.
    Failed(Cause),
}

/// One hook of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HookRecord {
    /// What was seen last.
    pub(super) state: HookState,
    /// An action is under way.
    pub(super) in_flight: bool,
    /// The chain may have changed since it was seen.
    pub(super) stale: bool,
    /// What stands there is to be replaced by the program of a newer generation.
    pub(super) outdated: bool,
    /// A filter cannot stand in for the link here.
    pub(super) no_bridge: bool,
    /// Failures since it was last in place.
    pub(super) failures: u32,
    /// When the program was last moved, and how often in a row the place was lost again.
    pub(super) moved: Option<(Instant, u32)>,
    /// When somebody last took the program off, and how often in a row.
    pub(super) removed: Option<(Instant, u32)>,
    /// When it was last seen.
    pub(super) seen: Option<Instant>,
    /// Who stood in front of it last.
    pub(super) rivals: Vec<String>,
}

impl HookRecord {
    /// Something of an earlier run may be there.
    pub(super) fn left_behind() -> Self {
        Self {
            state: HookState::Unknown,
            ..Self::default()
        }
    }

    /// Whether every packet meets our program first.
    pub(super) fn is_in_front(&self) -> bool {
        matches!(
            self.state,
            HookState::Attached { .. } | HookState::Bridged { .. }
        )
    }

    /// Takes in what an action found.
    pub(super) fn observe(&mut self, seen: Seen, now: Instant) {
        self.in_flight = false;
        self.stale = false;
        self.seen = Some(now);
        if let Seen::Behind { names, .. } = &seen {
            self.rivals.clone_from(names);
        }
        self.state = match seen {
            Seen::Front { prog_id, bridged } => {
                self.failures = 0;
                self.outdated = false;
                if bridged {
                    HookState::Bridged {
                        prog_id,
                        next_try: None,
                    }
                } else {
                    HookState::Attached { prog_id }
                }
            }
            Seen::Behind { names, fixed } => HookState::Behind { names, fixed },
            Seen::Missing => {
                if self.is_in_front() {
                    self.removed = Some((now, streak(self.removed, now)));
                }
                HookState::Absent
            }
            Seen::NoBridge => {
                self.no_bridge = true;
                HookState::Absent
            }
            Seen::Failed(error) => {
                let next_try = now + doubled(FIRST_PAUSE, self.failures, LONGEST_PAUSE);
                self.failures = self.failures.saturating_add(1);
                match self.state {
                    HookState::Bridged { prog_id, .. } => HookState::Bridged {
                        prog_id,
                        next_try: Some(next_try),
                    },
                    _ => HookState::Failed { error, next_try },
                }
            }
        };
    }

    /// The programs were taken off on purpose, or the interface with them.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// A move to the front begins.
    pub(super) fn moving(&mut self, now: Instant) {
        self.moved = Some((now, streak(self.moved, now)));
    }

    /// When the program may be moved; `None`: at once.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        let (last, streak) = self.moved?;
        Some(last + doubled(FIRST_REST, streak, LONGEST_REST))
    }

    /// When the program may be attached again; `None`: at once, as after the first removal.
    pub(super) fn stays_off_until(&self) -> Option<Instant> {
        let (last, streak) = self.removed?;
        let rest = doubled(FIRST_REST, streak.checked_sub(1)?, LONGEST_REST);
        Some(last + rest)
    }

    /// When it is to be looked whether it lasts, though nothing says that it does not.
    pub(super) fn looked_for_at(&self, now: Instant) -> Option<Instant> {
        let is_recent = |(last, _): &(Instant, u32)| now.saturating_duration_since(*last) < CALM;
        let mut lost = [self.moved, self.removed].into_iter().flatten();
        let seen = self.seen?;
        lost.any(|one| is_recent(&one)).then_some(seen + SUSPICION)
    }

    /// Whether the place was lost again and again, so lately that nobody knows whether it is lost now.
    pub(super) fn is_contested(&self, now: Instant) -> bool {
        [self.moved, self.removed]
            .into_iter()
            .flatten()
            .any(|(last, streak)| {
                streak > 0 && now.saturating_duration_since(last) < 2 * LONGEST_REST
            })
    }

    /// Whether the place was lost again and again, not long ago.
    pub(super) fn is_fought_for(&self, now: Instant) -> bool {
        [self.moved, self.removed]
            .into_iter()
            .flatten()
            .any(|(last, streak)| streak > 0 && now.saturating_duration_since(last) < CALM)
    }
}

/// How often in a row something has happened, if it happens now.
fn streak(last: Option<(Instant, u32)>, now: Instant) -> u32 {
    match last {
        Some((last, streak)) if now.saturating_duration_since(last) < CALM => {
            streak.saturating_add(1)
        }
        _ => 0,
    }
}

/// `first`, doubled `times` times, at most `longest`.
fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Seen {
        Seen::Failed(Cause::default())
    }

    fn pause(record: &HookRecord, now: Instant) -> Duration {
        match record.state {
            HookState::Failed { next_try, .. } => next_try - now,
            _ => panic!("{:?}", record.state),
        }
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_begin_anew_after_success() {
        let now = Instant::now();
        let mut record = HookRecord::default();
        let pauses: Vec<_> = (0..8)
            .map(|_| {
                record.observe(failed(), now);
                pause(&record, now).as_millis()
            })
            .collect();
        assert_eq!(
            pauses,
            [500, 1_000, 2_000, 4_000, 8_000, 16_000, 16_000, 16_000]
        );
        record.observe(
            Seen::Front {
                prog_id: 1,
                bridged: false,
            },
            now,
        );
        record.observe(failed(), now);
        assert_eq!(pause(&record, now), FIRST_PAUSE);
    }

    #[test]
    fn finding_it_behind_others_does_not_shorten_the_pause() {
        let now = Instant::now();
        let mut record = HookRecord::default();
        for _ in 0..3 {
            record.observe(failed(), now);
            let behind = Seen::Behind {
                names: Vec::new(),
                fixed: false,
            };
            record.observe(behind, now);
        }
        record.observe(failed(), now);
        assert_eq!(pause(&record, now), FIRST_PAUSE * 8);
    }

    #[test]
    fn what_is_removed_again_and_again_is_put_back_ever_more_seldom() {
        let now = Instant::now();
        let mut record = HookRecord::default();
        let front = Seen::Front {
            prog_id: 1,
            bridged: false,
        };
        let rests: Vec<_> = (0..5)
            .map(|_| {
                record.observe(front.clone(), now);
                record.observe(Seen::Missing, now);
                record
                    .stays_off_until()
                    .map(|until| (until - now).as_secs())
            })
            .collect();
        assert_eq!(rests, [None, Some(1), Some(2), Some(4), Some(8)]);
    }

    #[test]
    fn a_place_that_is_fought_for_is_taken_ever_more_seldom() {
        let mut now = Instant::now();
        let mut record = HookRecord::default();
        assert_eq!(record.rests_until(), None);
        let mut rests = Vec::new();
        for _ in 0..5 {
            record.moving(now);
            let rest = record.rests_until().unwrap() - now;
            rests.push(rest.as_secs());
            now += rest;
        }
        assert_eq!(rests, [1, 2, 4, 8, 8]);
        now += CALM;
        record.moving(now);
        assert_eq!(record.rests_until(), Some(now + FIRST_REST));
        assert!(!record.is_fought_for(now));
    }
}
