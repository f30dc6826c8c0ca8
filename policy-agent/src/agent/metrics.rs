//! `/metrics`: what Prometheus scrapes, in OpenMetrics.
//!
//! Owns names, labels and what is measured while it happens. Invariants: a scrape never waits for the
//! loop; no series is of a pair of pods, and those of policies are bounded.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use policy_core::model::ObjectName;
use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Snapshot, status::Published};
use crate::{
    datapath::{self, Counters, MapFill, PinDir},
    telemetry,
};

/// Tables are counted anew at most so often: it takes as long as there are flows.
const COUNT: Duration = Duration::from_secs(10);
/// Policies that have a series of their own; all others share one.
const MOST_POLICIES: usize = 1_000;
/// Upper bounds from a millisecond to a minute, in seconds.
const LAGS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 60.0,
];

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<f64, std::sync::atomic::AtomicU64>>;
type Counters64 = Family<Labels, Counter>;

/// What is measured while it happens. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    lag: Histogram,
    told: Counters64,
    policies: Arc<Mutex<BTreeSet<ObjectName>>>,
}

impl Default for Measured {
    fn default() -> Self {
        Self {
            lag: Histogram::new(LAGS),
            told: Family::default(),
            policies: Arc::default(),
        }
    }
}

impl Measured {
    /// A revision is in force so long after it was read.
    pub(super) fn in_force(&self, after: Duration) {
        self.lag.observe(after.as_secs_f64());
    }

    /// A packet was denied while these policies isolated its pod.
    pub(super) fn denied(&self, policies: &[ObjectName]) {
        let mut known = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        for policy in policies {
            if known.len() < MOST_POLICIES && !known.contains(policy) {
                known.insert(policy.clone());
            }
            let (namespace, name) = match known.contains(policy) {
                true => (policy.namespace.to_string(), policy.name.to_string()),
                false => (String::new(), "others".into()),
            };
            let labels = vec![("namespace", namespace), ("policy", name)];
            self.told.get_or_create(&labels).inc();
        }
    }
}

/// When the tables were counted, and how full they were.
type Counted = (Instant, Vec<MapFill>);

/// Answers scrapes.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    published: Published,
    measured: Measured,
    pins: PinDir,
    counted: Arc<Mutex<Option<Counted>>>,
    turns: Arc<Semaphore>,
}

impl Metrics {
    pub(super) fn new(published: Published, measured: Measured, pins: PinDir) -> Self {
        Self {
            published,
            measured,
            pins,
            counted: Arc::default(),
            turns: Arc::new(Semaphore::new(1)),
        }
    }

    pub(super) fn published(&self) -> &Published {
        &self.published
    }

    /// Waits until no other scrape is under way; it is whoever holds the permit.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }

    /// The text of a scrape. Reads maps: not for the loop's thread.
    pub(super) fn scrape(&self) -> String {
        let mut registry = Registry::with_prefix("policy_agent");
        let are_read = self.packets(&mut registry) & self.tables(&mut registry);
        let maps: Gauge = Gauge::default();
        maps.set(are_read.into());
        registry.register(
            "maps_readable",
            "Whether this scrape could read the maps: without, packets and tables are missing",
            maps,
        );
        grace(&mut registry);
        state(&mut registry, &self.published.get());
        registry.register_with_unit(
            "change_to_kernel",
            "Time from reading a revision of the source to its last write into the kernel",
            Unit::Seconds,
            self.measured.lag.clone(),
        );
        registry.register(
            "told_drops",
            "Packets that the log names as denied, by each policy that isolated the pod; of a flood only some are told",
            self.measured.told.clone(),
        );
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut text, &registry);
        text
    }

    /// What the programs counted; whether that could be read.
    fn packets(&self, registry: &mut Registry) -> bool {
        let (packets, bytes) = (Counters64::default(), Counters64::default());
        let counters = Counters::pinned(&self.pins).and_then(|counters| counters.all());
        let are_read = counters.is_ok();
        for (direction, reason, counter) in counters.unwrap_or_default() {
            let verdict = if reason.is_drop() {
                "denied"
            } else {
                "allowed"
            };
            let labels = vec![
                ("direction", direction.name().to_owned()),
                ("verdict", verdict.to_owned()),
                ("reason", reason.name().to_owned()),
            ];
            packets.get_or_create(&labels).inc_by(counter.packets);
            bytes.get_or_create(&labels).inc_by(counter.bytes);
        }
        registry.register(
            "packets",
            "Packets of pods, as judged by the programs",
            packets,
        );
        registry.register_with_unit(
            "judged",
            "Bytes of these packets, from the link header on",
            Unit::Bytes,
            bytes,
        );
        are_read
    }

    /// How full the tables are; whether that could be read.
    fn tables(&self, registry: &mut Registry) -> bool {
        let (entries, most) = (Gauges::default(), Gauges::default());
        let fills = self.fills();
        let are_read = !fills.is_empty();
        for fill in fills {
            let labels = vec![("table", fill.name)];
            entries.get_or_create(&labels).set(fill.entries as f64);
            most.get_or_create(&labels).set(fill.most as f64);
        }
        registry.register(
            "table_entries",
            "Elements of a table that are in use",
            entries,
        );
        registry.register("table_capacity", "Elements that fit into a table", most);
        are_read
    }

    fn fills(&self) -> Vec<MapFill> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        match &*counted {
            Some((at, fills)) if at.elapsed() < COUNT => fills.clone(),
            _ => {
                let fills = datapath::fill(&self.pins).unwrap_or_default();
                *counted = Some((Instant::now(), fills.clone()));
                fills
            }
        }
    }
}

/// Waits until no program runs any more that began before.
fn grace(registry: &mut Registry) {
    let (waits, waited) = datapath::grace_waits();
    let (count, seconds): (Counter, Counter<f64, std::sync::atomic::AtomicU64>) =
        Default::default();
    count.inc_by(waits);
    seconds.inc_by(waited.as_secs_f64());
    registry.register(
        "grace_waits",
        "Waits until no program ran any more that began before",
        count,
    );
    registry.register_with_unit(
        "grace_waited",
        "How long these waits took in all",
        Unit::Seconds,
        seconds,
    );
}

/// What the loop published last.
fn state(registry: &mut Registry, snapshot: &Snapshot) {
    let build = vec![("version", snapshot.agent.version.clone())];
    registry.register("build", "The agent that runs", Info::new(build));
    let mut gauge = |name: &str, help: &str, value: f64| {
        let gauge: Gauge<f64, std::sync::atomic::AtomicU64> = Gauge::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    let is = |is: bool| f64::from(u8::from(is));
    let count = |count: usize| count as f64;
    let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
    gauge(
        "ready",
        "Whether every wanted program is in front and every readable change is in the kernel",
        is(snapshot.hindrances().is_empty()),
    );
    gauge(
        "enforcing",
        "Whether everything was known once and programs stand wherever they could be attached",
        is(snapshot.agent.enforcing),
    );
    gauge(
        "state_age_seconds",
        "How old the state is that all other metrics of the agent show",
        seconds(snapshot.agent.age_ms),
    );
    gauge(
        "unenforced_interfaces",
        "Interfaces that should be enforced and are not, or not wholly",
        count(snapshot.unenforced.len()),
    );
    gauge(
        "waiting_operations",
        "Operations that wait for room or were refused by the kernel",
        count(snapshot.waiting),
    );
    gauge(
        "address_conflicts",
        "Addresses that several pods claim",
        count(snapshot.conflicts.len()),
    );
    gauge(
        "behind_seconds",
        "How long the oldest change that was read has waited to be in force",
        seconds(
            snapshot
                .sources
                .iter()
                .filter_map(|source| source.behind_ms)
                .max()
                .unwrap_or(0),
        ),
    );
    let lost: Counter = Counter::default();
    lost.inc_by(telemetry::lost_lines());
    registry.register("lost_log_lines", "Log lines that nobody read", lost);
    endpoints(registry, snapshot);
    sources(registry, snapshot);
}

fn endpoints(registry: &mut Registry, snapshot: &Snapshot) {
    let endpoints = Gauges::default();
    for isolated in ["none", "ingress", "egress", "both", "unknown"] {
        endpoints
            .get_or_create(&vec![("isolated", isolated.to_owned())])
            .set(0.0);
    }
    for endpoint in &snapshot.endpoints {
        let isolated = match (endpoint.ingress.isolated, endpoint.egress.isolated) {
            _ if endpoint.pod.is_none() => "unknown",
            (false, false) => "none",
            (true, false) => "ingress",
            (false, true) => "egress",
            (true, true) => "both",
        };
        endpoints
            .get_or_create(&vec![("isolated", isolated.to_owned())])
            .inc();
    }
    registry.register(
        "endpoints",
        "Interfaces of pods, by the directions in which policies isolate them; unknown: the pod is not known, and everything but the host is denied",
        endpoints,
    );
}

fn sources(registry: &mut Registry, snapshot: &Snapshot) {
    let [synced, refused, kept] = [(); 3].map(|()| Gauges::default());
    let [objects, watching, silent] = [(); 3].map(|()| Gauges::default());
    let [requests, bytes, lists] = [(); 3].map(|()| Counters64::default());
    for source in &snapshot.sources {
        let own = vec![("source", source.name.clone())];
        synced
            .get_or_create(&own)
            .set(f64::from(u8::from(source.synced)));
        refused.get_or_create(&own).set(source.refused as f64);
        kept.get_or_create(&own).set(source.kept as f64);
        for watch in &source.watches {
            let kind = vec![("kind", watch.kind.clone())];
            objects.get_or_create(&kind).set(watch.objects as f64);
            // Of what is listed now and then nothing is heard in between, and that is no alarm.
            if watch.listed_every_ms.is_none() {
                watching
                    .get_or_create(&kind)
                    .set(f64::from(u8::from(watch.watching)));
                if let Some(ms) = watch.silent_ms {
                    silent
                        .get_or_create(&kind)
                        .set(Duration::from_millis(ms).as_secs_f64());
                }
            }
            requests.get_or_create(&kind).inc_by(watch.requests);
            bytes.get_or_create(&kind).inc_by(watch.bytes);
            lists.get_or_create(&kind).inc_by(watch.lists);
        }
    }
    registry.register(
        "source_synced",
        "Whether everything that was there at the start has been read",
        synced,
    );
    registry.register("refused_objects", "Objects that are refused", refused);
    registry.register(
        "kept_objects",
        "Objects in force in an earlier form than the source's",
        kept,
    );
    registry.register("api_objects", "Objects that are known", objects);
    registry.register("api_watching", "Whether a watch is open", watching);
    registry.register("api_silent_seconds", "How long nothing was heard", silent);
    registry.register("api_requests", "Requests made", requests);
    registry.register_with_unit("api_read", "Bytes of answers read", Unit::Bytes, bytes);
    registry.register("api_lists", "Complete lists taken", lists);
}

#[cfg(test)]
mod tests;
