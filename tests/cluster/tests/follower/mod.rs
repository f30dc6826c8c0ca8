//! Whoever receives what a source says, and what he should know by then.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use http::Method;
use policy_agent::{
    convert::{self, Object},
    source::{
        Contact, Event, WatchStatus,
        kubernetes::{Access, KubernetesSource, Pace},
    },
};
use policy_cluster::{Api, ControlPlane};
use policy_core::model::Change;
use serde_json::Value;
use tokio::sync::Notify;

/// How long anything may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(5);

/// Facts by name, in words.
pub(crate) type Known = BTreeMap<String, String>;

#[derive(Default)]
struct State {
    known: Known,
    synced: bool,
    batches: usize,
}

/// Keeps what a source says.
pub(crate) struct Follower {
    state: Arc<Mutex<State>>,
    contact: Contact,
    reload: Arc<Notify>,
}

impl Follower {
    /// Follows for as long as the test runs.
    pub(crate) fn start(plane: &ControlPlane) -> Self {
        Self::of(&Access::Kubeconfig(plane.kubeconfig()))
    }

    /// Follows a server that is reached like this.
    pub(crate) fn of(access: &Access) -> Self {
        let seconds = Duration::from_secs;
        let pace = Pace {
            recovery: (seconds(2), seconds(4)),
            report: (Duration::from_millis(10), Duration::from_millis(50)),
            named: (Duration::from_millis(10), Duration::from_millis(50)),
            retry: (Duration::from_millis(100), seconds(1)),
            ..Pace::default()
        };
        let mut source = KubernetesSource::open(access, pace).unwrap();
        let contact = source.contact().clone();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let reload = Arc::new(Notify::new());
        let reloads = Arc::clone(&reload);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime.unwrap().block_on(async {
                loop {
                    tokio::select! {
                        () = reloads.notified() => source.reload(),
                        event = source.next() => match event {
                            Ok(event) => take(&mut shared.lock().unwrap(), event),
                            Err(_) => return,
                        },
                    }
                }
            });
        });
        Self {
            state,
            contact,
            reload,
        }
    }

    pub(crate) fn known(&self) -> Known {
        self.state.lock().unwrap().known.clone()
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.state.lock().unwrap().synced
    }

    pub(crate) fn batches(&self) -> usize {
        self.state.lock().unwrap().batches
    }

    /// Has everything listed again.
    pub(crate) fn reload(&self) {
        self.reload.notify_one();
    }

    /// How it stands with a kind.
    pub(crate) fn contact(&self, kind: &str) -> WatchStatus {
        let mut status = self.contact.status().into_iter();
        status.find(|watch| watch.kind == kind).unwrap()
    }

    /// The problems that kinds have which are watched: of others a loss is not noticed at once.
    pub(crate) fn said(&self) -> Vec<String> {
        let status = self.contact.status().into_iter();
        let watched = status.filter(|watch| watch.listed_every_ms.is_none());
        watched.filter_map(|watch| watch.problem).collect()
    }

    /// How many kinds have such a problem.
    pub(crate) fn problems(&self) -> usize {
        self.said().len()
    }

    /// How long it takes until something is known.
    pub(crate) fn lag(&self, key: &str) -> Duration {
        let begun = Instant::now();
        self.wait_until(key, |follower| {
            follower.state.lock().unwrap().known.contains_key(key)
        });
        begun.elapsed()
    }

    pub(crate) fn wait_for(&self, wanted: &Known) {
        let deadline = Instant::now() + DEADLINE;
        while self.known() != *wanted {
            if Instant::now() >= deadline {
                let status = self.contact.status();
                assert_eq!(self.known(), *wanted, "{status:#?}");
            }
            thread::sleep(LOOK);
        }
    }

    pub(crate) fn wait_until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !done(self) {
            let status = self.contact.status();
            assert!(Instant::now() < deadline, "not {what}: {status:#?}");
            thread::sleep(LOOK);
        }
    }
}

fn take(state: &mut State, event: Event) {
    match event {
        Event::Batch { changes, .. } => {
            state.batches += 1;
            for change in changes {
                match change {
                    Change::NamespaceRemoved(name) => {
                        state.known.remove(&format!("namespace {name}"));
                    }
                    Change::PodRemoved(name) => {
                        state.known.remove(&format!("pod {name}"));
                    }
                    Change::PolicyRemoved(name) => {
                        state.known.remove(&format!("policy {name}"));
                    }
                    Change::NodeRemoved(name) => {
                        state.known.remove(&format!("node {name}"));
                    }
                    there => state.known.extend(fact(there)),
                }
            }
        }
        Event::Synced => state.synced = true,
        Event::Refused(_) | Event::Kept(_) => {}
    }
}

fn fact(change: Change) -> Option<(String, String)> {
    match change {
        Change::Namespace(fact) => Some((format!("namespace {}", fact.name), format!("{fact:?}"))),
        Change::Pod(fact) => Some((format!("pod {}", fact.name), format!("{fact:?}"))),
        Change::Policy(fact) => Some((format!("policy {}", fact.name), format!("{fact:?}"))),
        Change::Node(fact) => Some((format!("node {}", fact.name), format!("{fact:?}"))),
        _ => None,
    }
}

/// What the server has, asked for in one go and converted.
pub(crate) fn known_to(api: &Api) -> Known {
    let mut known = Known::new();
    for (path, version, kind) in [
        ("/api/v1/namespaces", "v1", "Namespace"),
        ("/api/v1/pods", "v1", "Pod"),
        ("/api/v1/nodes", "v1", "Node"),
        (
            "/apis/networking.k8s.io/v1/networkpolicies",
            "networking.k8s.io/v1",
            "NetworkPolicy",
        ),
    ] {
        let list = api.must(Method::GET, path, None).unwrap();
        for item in list["items"].as_array().into_iter().flatten() {
            let mut item: Value = item.clone();
            item["apiVersion"] = version.into();
            item["kind"] = kind.into();
            let change = match convert::lenient(&item).unwrap().object {
                Object::Namespace(fact) => Change::Namespace(fact),
                Object::Pod(fact) => Change::Pod(fact),
                Object::Policy(fact) => Change::Policy(fact),
                Object::Node(fact) => Change::Node(fact),
                other => panic!("{other:?}"),
            };
            known.extend(fact(change));
        }
    }
    known
}
