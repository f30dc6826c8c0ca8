//! What `status` shows.
//!
//! Owns the form of the answer and how it follows from what the loop knows. Invariant: a snapshot
//! is a value; whoever reads it holds nobody up.

use std::time::{Duration, Instant};

use policy_core::model::ObjectName;
use serde::{Deserialize, Serialize};

use super::{
    Agent, Phase, SourceStatus,
    ports::{Port, is_enforceable},
};
use crate::datapath::Mechanism;

/// From this age on, in milliseconds, a snapshot is said to be old: the loop confirms it every two
/// seconds.
pub const STALE_MS: u64 = 5_000;

/// A snapshot is built anew at most so often, and no more than a tenth of the time goes into it.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const PAUSE_SHARE: u32 = 10;

/// What a running agent knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The process.
    pub agent: AgentStatus,
    /// Where facts come from, and how much of what was said there is in force.
    pub sources: Vec<SourceStatus>,
    /// Enforced interfaces.
    pub endpoints: Vec<EndpointStatus>,
    /// Interfaces that should be enforced and are not, or not wholly, and ways of pods round their programs.
    pub unenforced: Vec<UnenforcedInterface>,
    /// Interfaces that lead into other network namespaces and are left alone, because no pod is
    /// known behind them.
    pub ignored: Vec<String>,
    /// Objects that are refused, with the reason.
    pub refused: Vec<String>,
    /// Objects that are in force in an earlier form than their source's, with the reason.
    pub kept: Vec<String>,
    /// Where egress to Services is judged.
    #[serde(default)]
    pub services: ServicesStatus,
    /// Addresses that several pods claim.
    pub conflicts: Vec<String>,
    /// Tables that could not be brought up to date.
    pub failures: Vec<String>,
    /// How many of them, the first ones, are writes that the kernel refused; the others are tables without
    /// room.
    #[serde(default)]
    pub refused_writes: usize,
    /// Operations that wait because of them.
    pub waiting: usize,
    /// Endpoints of which it is looked for connections that were open before their first policy.
    #[serde(default)]
    pub adopting: usize,
}

/// The agent's process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Its id.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Whether everything was known once and programs stand wherever they could be attached.
    pub enforcing: bool,
    /// The same, in words.
    pub state: String,
    /// `tcx` or `clsact`.
    pub attach: String,
    /// Why nothing that an earlier run decided of interfaces is believed, if that is so.
    #[serde(default)]
    pub decided_anew: Option<String>,
    /// How old the snapshot is, in milliseconds; from [`STALE_MS`] on the agent's loop is held up.
    pub age_ms: u64,
    /// Log lines that were lost because nobody read them.
    pub lost_log_lines: u64,
}

/// What is known of Services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicesStatus {
    /// Ranges and single addresses, without those inside others.
    pub ranges: usize,
    /// Whether egress to them is judged by who stands behind them, and not by these addresses.
    pub judged_behind: bool,
    /// An interface by which packets may leave the node unjudged, which keeps it from being so.
    pub open_exit: Option<String>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// Name on the host.
    pub interface: String,
    /// Index on the host.
    pub ifindex: u32,
    /// Number of the endpoint.
    pub id: u16,
    /// Namespace and name; `null` while the pod is not known: then only the host reaches it.
    pub pod: Option<String>,
    /// Why the pod is not known.
    pub problem: Option<String>,
    /// The pod's addresses.
    pub addresses: Vec<String>,
    /// Connections to the pod.
    pub ingress: Isolation,
    /// Connections from the pod.
    pub egress: Isolation,
    /// Whether all its programs are the first that its packets meet.
    pub enforced: bool,
}

/// One direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// Whether only what rules allow passes.
    pub isolated: bool,
    /// The policies that isolate.
    pub policies: Vec<String>,
}

/// An interface that is not enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnenforcedInterface {
    /// Name on the host.
    pub interface: String,
    /// The pod behind it, as far as it is known.
    pub pod: Option<String>,
    /// Why.
    pub reason: String,
    /// What to do about it, where something helps.
    pub remedy: Option<String>,
    /// It is a way of a pod round its programs, or nothing that has programs: not one that is missing.
    #[serde(default)]
    pub is_way_round: bool,
}

impl Isolation {
    fn of(policies: &[ObjectName], unknown: bool) -> Self {
        Self {
            isolated: unknown || !policies.is_empty(),
            policies: policies.iter().map(ToString::to_string).collect(),
        }
    }
}

/// When the next snapshot is built.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Something may have changed since the last one.
    pub(super) changed: bool,
    next: Option<Instant>,
}

impl Pace {
    /// When a snapshot is due, if one is.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next.filter(|_| self.changed)
    }
}

impl Agent {
    /// Publishes a snapshot if something changed, else confirms the last one.
    pub(super) fn publish(&mut self, now: Instant) {
        if !self.pace.changed {
            self.published.confirm();
        } else if self.pace.next.is_none_or(|next| next <= now) {
            self.published.publish(self.snapshot());
            let cost = now.elapsed().saturating_mul(PAUSE_SHARE);
            self.pace = Pace {
                changed: false,
                next: Some(now + cost.max(SHORTEST_PAUSE)),
            };
        }
    }

    fn snapshot(&self) -> Snapshot {
        let pod_bridges = self.ports.pod_bridges();
        let is_begun = self.phase.is_begun();
        let now = Instant::now();
        let alarms = self
            .ports
            .iter()
            .filter(|_| is_begun)
            .filter_map(|(ifindex, port)| {
                let wanted = self.ports.wanted(port, &pod_bridges);
                let alarm = port
                    .unenforced(wanted, self.most_endpoints)
                    .or_else(|| port.contested(wanted, now))?;
                Some((ifindex, alarm))
            });
        let unenforced: Vec<_> = alarms
            .map(|(ifindex, alarm)| UnenforcedInterface {
                interface: self.ports.name(ifindex),
                pod: self.binder.pod_behind(ifindex).map(ToString::to_string),
                reason: alarm.reason,
                remedy: alarm.remedy,
                is_way_round: false,
            })
            .chain(self.ways())
            .collect();
        let endpoints = self.resolver.endpoints().map(|endpoint| EndpointStatus {
            interface: self.ports.name(endpoint.ifindex),
            ifindex: endpoint.ifindex,
            id: endpoint.id.0,
            pod: endpoint
                .pod
                .filter(|_| !endpoint.unknown)
                .map(ToString::to_string),
            problem: self.why_unknown(endpoint.ifindex),
            addresses: endpoint.addresses.iter().map(ToString::to_string).collect(),
            ingress: Isolation::of(endpoint.ingress, endpoint.unknown),
            egress: Isolation::of(endpoint.egress, endpoint.unknown),
            enforced: is_begun
                && self
                    .ports
                    .get(endpoint.ifindex)
                    .is_some_and(|port| port.hooks[..2].iter().all(|hook| hook.is_in_front())),
        });
        let ignored = self.ports.iter().filter_map(|(_, port)| {
            let interface = port.interface.as_ref()?;
            let is_left_alone = interface.sandbox.is_some()
                && is_enforceable(interface)
                && port.fact.is_none()
                && !port.no_number
                && !port.is_late_link();
            is_left_alone.then(|| self.left_alone(port, &interface.name))
        });
        Snapshot {
            agent: AgentStatus {
                pid: std::process::id(),
                version: env!("CARGO_PKG_VERSION").into(),
                enforcing: self.phase == Phase::Enforcing,
                state: state(self.phase, self.loaded).into(),
                attach: mechanism(self.mechanism).into(),
                decided_anew: self.memory.refused.clone(),
                age_ms: 0,
                lost_log_lines: 0,
            },
            sources: vec![self.source.status()],
            endpoints: endpoints.collect(),
            unenforced,
            ignored: ignored.chain(self.other_ways()).collect(),
            refused: self.source.refused().collect(),
            kept: self.source.kept().to_vec(),
            services: self.services.status(),
            conflicts: self.conflicts.clone(),
            failures: self.failures.clone(),
            refused_writes: self.refused_writes,
            waiting: self.waiting,
            adopting: self.adopting,
        }
    }

    /// An interface of which no pod is known, and of whose pod it is another one.
    fn left_alone(&self, port: &Port, name: &str) -> String {
        let mut others = self.ports.iter();
        let pod = port.netns().and_then(|netns| {
            others.find_map(|(other, one)| {
                let pod = self.binder.pod_behind(other)?;
                (one.netns() == Some(netns)).then_some(pod)
            })
        });
        match pod {
            Some(pod) => format!("{name} (a further interface of pod {pod})"),
            None => name.to_owned(),
        }
    }

    fn why_unknown(&self, ifindex: u32) -> Option<String> {
        let port = self.ports.get(ifindex)?;
        if port.moved {
            return Some("its other end moved to another network namespace".into());
        }
        port.bind.as_ref().map(ToString::to_string)
    }

    /// Writes to the log how things are.
    pub(super) fn report(&self) {
        let snapshot = self.snapshot();
        let isolated = |one: &&EndpointStatus| one.ingress.isolated || one.egress.isolated;
        tracing::info!(
            enforcing = snapshot.agent.enforcing,
            endpoints = snapshot.endpoints.len(),
            isolated = snapshot.endpoints.iter().filter(isolated).count(),
            not_enforced = snapshot.unenforced.len(),
            left_alone = snapshot.ignored.len(),
            refused = snapshot.refused.len(),
            conflicts = snapshot.conflicts.len(),
            waiting = snapshot.waiting,
            "status"
        );
        if let Some(why) = &snapshot.agent.decided_anew {
            tracing::warn!("{why}");
        }
        for one in &snapshot.unenforced {
            tracing::warn!(
                pod = one.pod,
                remedy = one.remedy,
                "interface {} is not enforced: {}",
                one.interface,
                one.reason
            );
        }
        let lists = [
            ("refused", &snapshot.refused),
            ("kept", &snapshot.kept),
            ("address conflict", &snapshot.conflicts),
            ("not up to date", &snapshot.failures),
        ];
        for (what, lines) in lists {
            for line in lines {
                tracing::warn!("{what}: {line}");
            }
        }
    }
}

fn state(phase: Phase, loaded: bool) -> &'static str {
    match phase {
        Phase::Waiting if !loaded => "loading the programs",
        Phase::Waiting => "waiting for its first complete view",
        Phase::Filling => "filling the tables",
        Phase::Attaching { .. } => "attaching programs",
        Phase::Enforcing => "enforcing",
    }
}

/// The mechanism as people write it.
pub(super) fn mechanism(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Tcx => "tcx",
        Mechanism::Clsact => "clsact",
    }
}
