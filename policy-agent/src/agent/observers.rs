//! Who observes, and what was observed last.
//!
//! Owns the memory of the last packets and each observer's queue. Invariants: whoever tells waits for nobody
//! who reads; where there is no room for all, the pod of which most is kept loses its oldest first, so that a
//! flood in one hides no other's; what an observer loses is counted and said.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    ask::Verdict,
    telemetry::observed::{Filter, Observed},
};

/// Packets that are remembered.
const MOST_REMEMBERED: usize = 4_096;
/// Packets that wait for one observer.
const MOST_WAITING: usize = 1_024;
/// Observers at a time.
const MOST_OBSERVERS: usize = 8;

/// What is kept of packets, by pod.
#[derive(Debug)]
struct Fair {
    pods: BTreeMap<String, VecDeque<(u64, Arc<Observed>)>>,
    length: usize,
    most: usize,
}

impl Fair {
    fn new(most: usize) -> Self {
        Self {
            pods: BTreeMap::new(),
            length: 0,
            most,
        }
    }

    /// Keeps a packet; whether another went for it.
    fn push(&mut self, number: u64, packet: &Arc<Observed>) -> bool {
        let of = packet.pod.as_ref().unwrap_or(&packet.interface);
        match self.pods.get_mut(of) {
            Some(queue) => queue.push_back((number, Arc::clone(packet))),
            None => {
                let first = [(number, Arc::clone(packet))];
                self.pods.insert(of.clone(), first.into());
            }
        }
        self.length += 1;
        if self.length <= self.most {
            return false;
        }
        self.length -= 1;
        let longest = self.pods.iter().max_by_key(|(_, queue)| queue.len());
        let Some(longest) = longest.map(|(pod, _)| pod.clone()) else {
            return false;
        };
        if let Some(queue) = self.pods.get_mut(&longest) {
            queue.pop_front();
            if queue.is_empty() {
                self.pods.remove(&longest);
            }
        }
        true
    }

    /// Everything, in the order in which it came.
    fn all(&self) -> Vec<(u64, Arc<Observed>)> {
        let mut all: Vec<_> = self.pods.values().flatten().cloned().collect();
        all.sort_by_key(|(number, _)| *number);
        all
    }
}

/// What one observer has not read.
#[derive(Debug)]
struct Queue {
    filter: Filter,
    waiting: Mutex<Fair>,
    news: Condvar,
    lost: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct State {
    told: u64,
    last: Fair,
    observers: Vec<Weak<Queue>>,
}

impl State {
    fn last(&self, filter: &Filter, last: usize) -> Vec<Arc<Observed>> {
        let all = self.last.all().into_iter().map(|(_, packet)| packet);
        let mut wanted: Vec<_> = all.filter(|packet| filter.wants(packet)).collect();
        wanted.drain(..wanted.len().saturating_sub(last));
        wanted
    }

    /// Whether an observer wants what is allowed.
    fn want_allowed(&self) -> bool {
        let mut observers = self.observers.iter().filter_map(Weak::upgrade);
        observers.any(|observer| observer.filter.verdict != Some(Verdict::Denied))
    }
}

/// Where packets are told.
#[derive(Clone, Debug)]
pub(super) struct Observers(Arc<(Mutex<State>, Condvar)>);

impl Default for Observers {
    fn default() -> Self {
        let state = State {
            told: 0,
            last: Fair::new(MOST_REMEMBERED),
            observers: Vec::new(),
        };
        Self(Arc::new((Mutex::new(state), Condvar::new())))
    }
}

/// An observer, until it is dropped.
#[derive(Debug)]
pub(super) struct Observer(Arc<Queue>);

impl Observers {
    /// Whether somebody wants what is allowed.
    pub(super) fn want_allowed(&self) -> bool {
        lock(&self.0.0).want_allowed()
    }

    /// Waits until somebody wants what is allowed.
    pub(super) fn await_allowed(&self) {
        let (state, came) = &*self.0;
        let nobody = |state: &mut State| !state.want_allowed();
        drop(came.wait_while(lock(state), nobody));
    }

    /// Tells of a packet.
    pub(super) fn tell(&self, packet: Observed) {
        let packet = Arc::new(packet);
        let mut state = lock(&self.0.0);
        state.told += 1;
        let number = state.told;
        state.last.push(number, &packet);
        state.observers.retain(|observer| {
            let Some(observer) = observer.upgrade() else {
                return false;
            };
            if observer.filter.wants(&packet) {
                if lock(&observer.waiting).push(number, &packet) {
                    observer.lost.fetch_add(1, Ordering::Relaxed);
                }
                observer.news.notify_one();
            }
            true
        });
    }

    /// The last packets that a filter wants.
    pub(super) fn last(&self, filter: &Filter, last: usize) -> Vec<Arc<Observed>> {
        lock(&self.0.0).last(filter, last)
    }

    /// The last packets that a filter wants, and an observer of all that come after them; `None`: there are as
    /// many as there may be.
    pub(super) fn observe(
        &self,
        filter: Filter,
        last: usize,
    ) -> Option<(Vec<Arc<Observed>>, Observer)> {
        let mut state = lock(&self.0.0);
        state
            .observers
            .retain(|observer| observer.strong_count() > 0);
        if state.observers.len() >= MOST_OBSERVERS {
            return None;
        }
        let wanted = state.last(&filter, last);
        let queue = Arc::new(Queue {
            filter,
            waiting: Mutex::new(Fair::new(MOST_WAITING)),
            news: Condvar::new(),
            lost: AtomicU64::new(0),
        });
        state.observers.push(Arc::downgrade(&queue));
        self.0.1.notify_all();
        Some((wanted, Observer(queue)))
    }
}

impl Observer {
    /// What came since the last call, and how much of it was lost; waits as long as that for the first.
    pub(super) fn news(&self, patience: Duration) -> (Vec<Arc<Observed>>, u64) {
        let waiting = lock(&self.0.waiting);
        let is_empty = |waiting: &mut Fair| waiting.length == 0;
        let waited = self.0.news.wait_timeout_while(waiting, patience, is_empty);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let all = std::mem::replace(&mut *waiting, Fair::new(MOST_WAITING)).all();
        let lost = self.0.lost.swap(0, Ordering::Relaxed);
        (all.into_iter().map(|(_, packet)| packet).collect(), lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::observed::tests::packet;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn a_flood_in_one_pod_hides_no_other_from_a_reader_that_sleeps() {
        let observers = Observers::default();
        let (_, observer) = observers.observe(Filter::default(), 0).unwrap();
        observers.tell(packet("ingress", "shop/quiet", "shop/client"));
        for _ in 0..10 * MOST_REMEMBERED {
            observers.tell(packet("ingress", "shop/loud", "shop/client"));
        }
        let (news, lost) = observer.news(SOON);
        assert_eq!(news[0].pod.as_deref(), Some("shop/quiet"));
        assert_eq!(news.len(), MOST_WAITING);
        let told = u64::try_from(10 * MOST_REMEMBERED + 1).unwrap();
        assert_eq!(lost + u64::try_from(news.len()).unwrap(), told);
        let quiet = Filter {
            to: Some("shop/quiet".parse().unwrap()),
            ..Filter::default()
        };
        let last = observers.last(&quiet, 5);
        assert_eq!(last.len(), 1, "it is remembered too");
    }

    #[test]
    fn the_last_ones_come_first_and_in_order_and_nothing_between_is_missing() {
        let observers = Observers::default();
        for pod in ["shop/a", "shop/b", "shop/a", "shop/c"] {
            observers.tell(packet("ingress", pod, "shop/client"));
        }
        let (last, observer) = observers.observe(Filter::default(), 3).unwrap();
        let pods = |all: &[Arc<Observed>]| -> Vec<String> {
            let pods = all.iter().filter_map(|one| one.pod.clone());
            pods.collect()
        };
        assert_eq!(pods(&last), ["shop/b", "shop/a", "shop/c"]);
        observers.tell(packet("ingress", "shop/d", "shop/client"));
        assert_eq!(pods(&observer.news(SOON).0), ["shop/d"]);
        let nothing = Duration::from_millis(1);
        assert_eq!(observer.news(nothing), (Vec::new(), 0));
    }

    #[test]
    fn who_went_away_makes_room_for_the_next() {
        let observers = Observers::default();
        let observe = || observers.observe(Filter::default(), 0);
        let mut all: Vec<_> = (0..MOST_OBSERVERS).map(|_| observe().unwrap()).collect();
        assert!(observe().is_none());
        all.pop();
        assert!(observe().is_some());
    }
}
