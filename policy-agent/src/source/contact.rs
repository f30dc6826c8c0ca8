//! What a source that listens to somebody knows of its connections, for `status`.
//!
//! Written by the source's thread, read by whoever shows it. Knows no protocol.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// One kind of objects that is listened for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchStatus {
    /// The kind of the API.
    pub kind: String,
    /// How many objects of it are known.
    pub objects: usize,
    /// Whether a watch is open.
    pub watching: bool,
    /// The longest time between two lists of a kind that is listed now and then instead of being watched,
    /// milliseconds; `null` for one that is watched.
    pub listed_every_ms: Option<u64>,
    /// How long nothing of it was heard; what happened meanwhile may not be known. Milliseconds;
    /// `null` before anything was heard.
    pub silent_ms: Option<u64>,
    /// Why it cannot be listened for now; `null` when it can.
    pub problem: Option<String>,
    /// Requests made so far.
    pub requests: u64,
    /// Bytes of answers read so far, as they came over the network.
    pub bytes: u64,
    /// Complete lists taken so far.
    pub lists: u64,
}

impl fmt::Display for WatchStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, objects, .. } = self;
        write!(formatter, "{kind}: {objects}")?;
        match self.silent_ms {
            Some(silent) => {
                let seconds = silent / 1_000;
                let tenths = silent % 1_000 / 100;
                write!(formatter, ", last heard {seconds}.{tenths} s ago")?;
            }
            None => formatter.write_str(", nothing heard yet")?,
        }
        match self.listed_every_ms {
            Some(every) => write!(formatter, ", listed every {} s", every / 1_000)?,
            None if self.watching => {}
            None => formatter.write_str(", NOT WATCHED")?,
        }
        match &self.problem {
            Some(problem) => write!(formatter, ": {problem}"),
            None => Ok(()),
        }
    }
}

/// All kinds that a source listens for; none for a source that listens to nobody.
#[derive(Clone, Debug, Default)]
pub struct Contact(Arc<[Listening]>);

impl Contact {
    /// For kinds of these names.
    pub fn new<'a>(kinds: impl IntoIterator<Item = &'a str>) -> Self {
        Self(kinds.into_iter().map(Listening::new).collect())
    }

    /// The one of a kind, by its place in the list that this was made of.
    pub fn kind(&self, index: usize) -> Option<&Listening> {
        self.0.get(index)
    }

    /// How they stand now.
    pub fn status(&self) -> Vec<WatchStatus> {
        self.0.iter().map(Listening::status).collect()
    }
}

/// How it stands with one kind.
#[derive(Clone, Debug)]
pub struct Listening(Arc<State>);

#[derive(Debug)]
struct State {
    kind: String,
    begun: Instant,
    /// Milliseconds from `begun` to the last byte, plus 1; 0 before the first.
    heard: AtomicU64,
    objects: AtomicUsize,
    watching: AtomicBool,
    /// Milliseconds; 0 for a kind that is watched.
    listed_every: AtomicU64,
    problem: Mutex<Option<String>>,
    requests: AtomicU64,
    bytes: AtomicU64,
    lists: AtomicU64,
}

impl State {
    fn new(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            begun: Instant::now(),
            heard: AtomicU64::new(0),
            objects: AtomicUsize::new(0),
            watching: AtomicBool::new(false),
            listed_every: AtomicU64::new(0),
            problem: Mutex::new(None),
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            lists: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        self.begun
            .elapsed()
            .as_millis()
            .try_into()
            .unwrap_or(u64::MAX)
    }
}

impl Listening {
    /// Nothing was heard of this kind yet.
    pub fn new(kind: &str) -> Self {
        Self(Arc::new(State::new(kind)))
    }

    /// A request is made.
    pub fn asked(&self) {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes came.
    pub fn heard(&self, bytes: usize) {
        let bytes = bytes.try_into().unwrap_or(u64::MAX);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.0.heard.store(self.0.now() + 1, Ordering::Relaxed);
    }

    /// A complete list was taken.
    pub fn listed(&self) {
        self.0.lists.fetch_add(1, Ordering::Relaxed);
    }

    /// So many objects are known.
    pub fn holds(&self, objects: usize) {
        self.0.objects.store(objects, Ordering::Relaxed);
    }

    /// A watch is open, or not.
    pub fn is_watching(&self, watching: bool) {
        self.0.watching.store(watching, Ordering::Relaxed);
    }

    /// It is not watched, but listed after so long at most.
    pub fn listed_every(&self, time: Duration) {
        let time = time.as_millis().try_into().unwrap_or(u64::MAX);
        self.0.listed_every.store(time, Ordering::Relaxed);
    }

    /// Why it cannot be listened for, or that it can.
    pub fn problem(&self, problem: Option<String>) {
        *self
            .0
            .problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = problem;
    }

    fn status(&self) -> WatchStatus {
        let state = &self.0;
        let heard = state.heard.load(Ordering::Relaxed);
        let problem = state.problem.lock().unwrap_or_else(PoisonError::into_inner);
        WatchStatus {
            kind: state.kind.clone(),
            objects: state.objects.load(Ordering::Relaxed),
            watching: state.watching.load(Ordering::Relaxed),
            listed_every_ms: Some(state.listed_every.load(Ordering::Relaxed))
                .filter(|every| *every > 0),
            silent_ms: (heard > 0).then(|| (state.now() + 1).saturating_sub(heard)),
            problem: problem.clone(),
            requests: state.requests.load(Ordering::Relaxed),
            bytes: state.bytes.load(Ordering::Relaxed),
            lists: state.lists.load(Ordering::Relaxed),
        }
    }
}
