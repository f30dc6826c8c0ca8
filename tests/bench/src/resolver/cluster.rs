//! A generated cluster: namespaces of teams with Deployments, StatefulSets and Jobs, their pods
//! spread over nodes of 110. The same seed gives the same cluster.
//!
//! Knows nothing of the resolver. Invariant: every fact is made anew from a few bytes when it is
//! asked for, with strings of its own, as a source that decodes API objects makes it; nothing
//! that is kept here is shared with the facts.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use fastrand::Rng;
use policy_common::EndpointId;
use policy_core::model::{
    Change, ContainerPort, EndpointFact, Labels, NamespaceFact, ObjectName, PodFact, Protocol,
};

/// Pods of one node.
pub(super) const NODE_PODS: usize = 110;
/// Pods of an average namespace.
const NAMESPACE_PODS: usize = 150;
/// The first namespaces: what every cluster has.
const SYSTEM: [(&str, &[&str]); 3] = [
    ("kube-system", &["kube-dns", "metrics-server"]),
    ("monitoring", &["prometheus", "alertmanager", "grafana"]),
    ("ingress-nginx", &["controller"]),
];
/// Names of workloads with their tiers and ports.
const CATALOGUE: [(&str, &str, u16); 12] = [
    ("web", "frontend", 8080),
    ("api", "backend", 8080),
    ("checkout", "backend", 8000),
    ("orders", "backend", 8443),
    ("search", "backend", 9200),
    ("gateway", "frontend", 8443),
    ("cache", "data", 6379),
    ("postgres", "data", 5432),
    ("queue", "data", 5672),
    ("worker", "batch", 8081),
    ("report", "batch", 8082),
    ("admin", "frontend", 3000),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Deployment,
    StatefulSet,
    Job,
}

/// A workload of one namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct App {
    pub(super) name: &'static str,
    tier: &'static str,
    port: u16,
    kind: Kind,
}

/// A namespace.
#[derive(Clone, Debug)]
pub(super) struct Tenant {
    pub(super) name: String,
    pub(super) team: usize,
    pub(super) env: &'static str,
    pub(super) apps: Vec<App>,
}

/// What a pod is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seedling {
    pub(super) tenant: u32,
    pub(super) app: u8,
    /// Unique in the cluster.
    pub(super) number: u32,
    node: u16,
    /// Place on the node, which gives the address.
    slot: u8,
}

/// The cluster.
pub(super) struct Cluster {
    pub(super) tenants: Vec<Tenant>,
    pub(super) pods: Vec<Seedling>,
    pub(super) policies: usize,
    pub(super) teams: usize,
    /// The node whose agent is measured.
    node: u16,
}

pub(super) const ENVIRONMENTS: [&str; 3] = ["prod", "staging", "dev"];

impl Cluster {
    /// A cluster of so many pods and policies.
    pub(super) fn new(pods: usize, policies: usize, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let count = (pods / NAMESPACE_PODS).max(10);
        let teams = (count / 10).max(3);
        let mut tenants: Vec<Tenant> = SYSTEM
            .iter()
            .map(|&(name, apps)| Tenant {
                name: name.to_owned(),
                team: 0,
                env: "prod",
                apps: apps.iter().map(|name| system_app(name)).collect(),
            })
            .collect();
        tenants.extend((tenants.len()..count).map(|index| tenant(index, teams, &mut rng)));

        // A few namespaces are large, most are small: by rank, to the power of -0.6.
        let weights: Vec<f64> = (1..=count).map(|rank| (rank as f64).powf(-0.6)).collect();
        let total: f64 = weights.iter().sum();
        let mut owners: Vec<u32> = Vec::with_capacity(pods + count);
        for (rank, weight) in weights.iter().enumerate() {
            // The largest namespaces are those of teams; the system's stand in the middle.
            let tenant = (rank + count - count / 3) % count;
            let share = ((weight / total * pods as f64) as usize).max(1);
            owners.extend(std::iter::repeat_n(tenant as u32, share));
        }
        while owners.len() < pods {
            owners.push(rng.u32(3..count as u32));
        }
        owners.truncate(pods);
        rng.shuffle(&mut owners);
        let pods = owners.into_iter().enumerate().map(|(number, tenant)| {
            let apps = tenants[tenant as usize].apps.len();
            Seedling {
                tenant,
                app: rng.usize(..apps) as u8,
                number: number as u32,
                node: (number / NODE_PODS) as u16,
                slot: (number % NODE_PODS) as u8 + 2,
            }
        });
        let pods: Vec<Seedling> = pods.collect();
        Self {
            node: (pods.len() / NODE_PODS / 2) as u16,
            pods,
            tenants,
            policies,
            teams,
        }
    }

    /// Everything that is known of namespaces, pods and the node, policies left out.
    pub(super) fn facts(&self) -> impl Iterator<Item = Change> {
        let namespaces = self.tenants.iter().map(Tenant::namespace);
        let pods = self.pods.iter().map(|pod| Change::Pod(self.pod(pod)));
        let endpoints = self.local().map(|pod| self.endpoint(pod));
        let host = Change::HostAddresses(vec![address(self.node, 1).0]);
        namespaces
            .map(Change::Namespace)
            .chain(pods)
            .chain(endpoints)
            .chain([host])
    }

    pub(super) fn is_local(&self, pod: &Seedling) -> bool {
        pod.node == self.node
    }

    /// The pods of the node.
    pub(super) fn local(&self) -> impl Iterator<Item = &Seedling> {
        self.pods.iter().filter(|pod| self.is_local(pod))
    }

    /// Another pod of this one's workload, on the same node or on the measured one; `offset` (up
    /// to 100) tells such pods apart.
    pub(super) fn sibling(&self, pod: &Seedling, local: bool, offset: u8) -> Seedling {
        Seedling {
            number: pod.number + 1_000_000 * (u32::from(offset) + 1),
            node: if local { self.node } else { pod.node },
            slot: NODE_PODS as u8 + 4 + offset,
            ..*pod
        }
    }

    /// The interface of a local pod.
    pub(super) fn ifindex(&self, pod: &Seedling) -> u32 {
        u32::from(pod.slot) + 10
    }

    /// What the node says of a local pod.
    pub(super) fn endpoint(&self, pod: &Seedling) -> Change {
        Change::Endpoint(EndpointFact {
            ifindex: self.ifindex(pod),
            id: EndpointId(u16::from(pod.slot)),
            bridge: None,
            pod: Some(self.name(pod)),
            ..EndpointFact::default()
        })
    }

    fn app(&self, pod: &Seedling) -> App {
        self.tenants[pod.tenant as usize].apps[usize::from(pod.app)]
    }

    /// Namespace and name of a pod; they outlive a change of its labels.
    pub(super) fn name(&self, pod: &Seedling) -> ObjectName {
        let tenant = &self.tenants[pod.tenant as usize];
        let hash = mix(u64::from(pod.number));
        ObjectName::new(
            tenant.name.as_str(),
            format!("pod-{:05x}-{}", hash & 0xf_ffff, pod.number),
        )
    }

    /// A pod.
    pub(super) fn pod(&self, pod: &Seedling) -> PodFact {
        let app = self.app(pod);
        let hash = mix(u64::from(pod.number));
        let (v4, v6) = address(pod.node, pod.slot);
        let port = |name: &str, number| ContainerPort {
            name: name.into(),
            protocol: Protocol::Tcp,
            number,
        };
        PodFact {
            name: self.name(pod),
            uid: format!(
                "{:08x}-{:04x}-4000-8000-{:012x}",
                hash as u32,
                hash >> 48,
                pod.number
            )
            .into(),
            labels: self.labels(pod),
            addresses: vec![v4, v6],
            ports: match app.tier {
                "data" => vec![port("db", app.port), port("metrics", 9187)],
                _ => vec![port("http", app.port), port("metrics", 9090)],
            },
            host_network: hash.is_multiple_of(100),
            finished: app.kind == Kind::Job && hash.is_multiple_of(3),
            terminating: false,
            running: true,
            started: 1_700_000_000 + i64::from(pod.number),
            ..PodFact::default()
        }
    }

    /// The labels that controllers and charts put on a pod.
    pub(super) fn labels(&self, pod: &Seedling) -> Labels {
        let tenant = &self.tenants[pod.tenant as usize];
        let app = self.app(pod);
        let mut labels = Labels::new();
        let mut label = |key: &str, value: &str| labels.insert(key.into(), value.into());
        label("app", app.name);
        label("app.kubernetes.io/name", app.name);
        label(
            "app.kubernetes.io/instance",
            &format!("{}-{}", tenant.name, app.name),
        );
        label("tier", app.tier);
        let template = format!(
            "{:x}",
            mix(u64::from(pod.tenant) << 8 | u64::from(pod.app)) >> 24
        );
        match app.kind {
            Kind::Deployment => {
                label("pod-template-hash", &template);
                label("version", &format!("v{}", pod.number % 3));
            }
            Kind::StatefulSet => {
                label(
                    "controller-revision-hash",
                    &format!("{}-{template}", app.name),
                );
                label(
                    "statefulset.kubernetes.io/pod-name",
                    &format!("{}-{}", app.name, pod.number),
                );
                label("apps.kubernetes.io/pod-index", &pod.number.to_string());
            }
            Kind::Job => {
                let job = format!("{}-{}", app.name, pod.number / 4);
                label("batch.kubernetes.io/job-name", &job);
                label(
                    "batch.kubernetes.io/controller-uid",
                    &format!("{:016x}", mix(u64::from(pod.number / 4))),
                );
            }
        }
        if mix(u64::from(pod.number)).is_multiple_of(4) {
            label("db-client", "true");
        }
        labels
    }
}

impl Seedling {
    /// The same pod as part of another workload of its namespace.
    pub(super) fn of_app(self, app: u8) -> Self {
        Self { app, ..self }
    }
}

impl Tenant {
    /// The Namespace.
    pub(super) fn namespace(&self) -> NamespaceFact {
        let name: Arc<str> = self.name.as_str().into();
        let team = format!("team-{}", self.team);
        let labels = [
            ("kubernetes.io/metadata.name", self.name.as_str()),
            ("team", &team),
            ("env", self.env),
            ("pod-security.kubernetes.io/enforce", "baseline"),
        ];
        let labels = labels
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()));
        NamespaceFact {
            name,
            labels: labels.collect(),
        }
    }
}

fn system_app(name: &'static str) -> App {
    App {
        name,
        tier: "system",
        port: 9443,
        kind: Kind::Deployment,
    }
}

fn tenant(index: usize, teams: usize, rng: &mut Rng) -> Tenant {
    let mut catalogue = CATALOGUE.to_vec();
    rng.shuffle(&mut catalogue);
    catalogue.truncate(rng.usize(4..=CATALOGUE.len()));
    let apps = catalogue.into_iter().map(|(name, tier, port)| App {
        name,
        tier,
        port,
        kind: match tier {
            "data" => Kind::StatefulSet,
            "batch" => Kind::Job,
            _ => Kind::Deployment,
        },
    });
    let team = index % teams;
    let env = ENVIRONMENTS[rng.usize(..ENVIRONMENTS.len())];
    Tenant {
        name: format!("team-{team}-{env}-{index}"),
        team,
        env,
        apps: apps.collect(),
    }
}

/// Every node has a /24 and a /64.
fn address(node: u16, slot: u8) -> (IpAddr, IpAddr) {
    let [high, low] = node.to_be_bytes();
    let v4 = Ipv4Addr::new(10, 64 + high, low, slot);
    let v6 = Ipv6Addr::new(0xfd00, 0x10, 0, node, 0, 0, 0, u16::from(slot));
    (v4.into(), v6.into())
}

/// The finaliser of SplitMix64: spreads numbers over 64 bits.
pub(super) const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
