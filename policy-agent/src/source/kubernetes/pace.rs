//! When to ask, how long to wait, and by how much to differ from everybody else.

use std::time::Duration;

/// All times of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long an answer may take to begin, and to go on.
    pub patience: Duration,
    /// How long a watch may be silent before the server is asked whether it is there. Servers send
    /// bookmarks about once a minute.
    pub quiet: Duration,
    /// How long the server may take for that.
    pub probe: Duration,
    /// How long a watch is asked to last, at least and at most.
    pub watch: (Duration, Duration),
    /// After what time everything is listed again, at least and at most.
    pub relist: (Duration, Duration),
    /// The same after the server was away.
    pub recovery: (Duration, Duration),
    /// After what time the nodes are listed again, at least and at most.
    pub nodes: (Duration, Duration),
    /// How much later for each node that there is, so that it costs no more in a large cluster.
    pub each_node: Duration,
    /// How long after pods have named nodes that are not known these are asked for, at least and at most.
    pub named: (Duration, Duration),
    /// How long before an event is written of an object that is refused, at least and at most: all agents see
    /// it at once.
    pub report: (Duration, Duration),
    /// How long to wait after the first failure, and at most after many.
    pub retry: (Duration, Duration),
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            patience: seconds(30),
            quiet: seconds(75),
            probe: seconds(10),
            watch: (seconds(300), seconds(600)),
            relist: (seconds(300), seconds(570)),
            recovery: (seconds(15), seconds(60)),
            nodes: (seconds(300), seconds(420)),
            each_node: Duration::from_millis(600),
            named: (seconds(1), seconds(15)),
            report: (seconds(1), seconds(30)),
            retry: (Duration::from_millis(500), seconds(30)),
        }
    }
}

/// Any time from the first to the second, so that many agents do not ask at once.
pub(super) fn between((least, most): (Duration, Duration)) -> Duration {
    let spread = most.saturating_sub(least);
    least + spread.mul_f64(fastrand::f64())
}

/// How long to wait, longer after each failure.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    failures: u32,
}

impl BackOff {
    /// It went well.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How often it failed since it last went well.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// How long to wait after one more failure; `wanted` is what the server asks for.
    pub(super) fn next(&mut self, pace: &Pace, wanted: Option<Duration>) -> Duration {
        let (first, most) = pace.retry;
        let longest = first.saturating_mul(1 << self.failures.min(16)).min(most);
        self.failures = self.failures.saturating_add(1);
        let own = between((longest / 2, longest));
        // A server is believed, but not for ever.
        let wanted = wanted.unwrap_or_default().min(most);
        own.max(wanted + own / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_waits_longer_up_to_a_bound_and_never_twice_the_same() {
        let pace = Pace::default();
        let (first, most) = pace.retry;
        let mut waits = std::collections::BTreeSet::new();
        for _ in 0..50 {
            let mut back_off = BackOff::default();
            let wait = back_off.next(&pace, None);
            assert!(first / 2 <= wait && wait <= first);
            waits.insert(wait);
            for _ in 0..100 {
                back_off.next(&pace, None);
            }
            let wait = back_off.next(&pace, None);
            assert!(most / 2 <= wait && wait <= most);
        }
        assert!(waits.len() > 10);
    }

    #[test]
    fn the_server_may_ask_for_more_time_but_not_for_any() {
        let pace = Pace::default();
        let wait = BackOff::default().next(&pace, Some(Duration::from_secs(3)));
        assert!(wait >= Duration::from_secs(3));
        let wait = BackOff::default().next(&pace, Some(Duration::from_secs(86_400)));
        assert!(wait <= 2 * pace.retry.1);
    }
}
