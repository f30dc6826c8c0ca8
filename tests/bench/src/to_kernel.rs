//! From a manifest to the kernel: how long a change takes until its last map write.
//!
//! The real agent follows a directory of policies, one file each, of which ten select each pod of
//! this node; all others select pods elsewhere. Then one file is replaced, again and again: a policy
//! gets another port, or a peer another label, so that a policy of a local pod begins or ceases to
//! name it. A commit swaps the endpoint last; from the replacement of the file until the pinned map
//! shows the swap is what is measured. 100 ms of it the agent waits on purpose, for the file to come
//! to rest.

use std::{
    fmt::Write as _,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use policy_agent::datapath::PinDir;

use crate::{group::Group, options::Options, report::Figure, report::Report, summary::Summary};
use policy_harness::{Attach, Cluster, Wiring, cluster::pod_manifest};

/// The group's name.
const NAME: &str = "to_kernel";
/// The group.
pub(super) const GROUP: Group = Group {
    name: NAME,
    cases: &["policy_port", "pod_label"],
    run,
};

/// Prefix of every namespace.
const PREFIX: &str = "tokernel";
/// Pods of this node.
const LOCAL: usize = 10;
/// Policies that select the same pods.
const TOGETHER: usize = 10;
/// Pods elsewhere that a policy names as peers.
const PEERS: usize = 2;
/// Their manifests in one file.
const PODS_PER_FILE: usize = 100;
/// The pod whose label changes.
const ROAMER: &str = "roamer";
const ROAMER_ADDRESS: &str = "10.3.0.1";
/// How long a change may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Changed {
    Port,
    Label,
}

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let counts = [1_000, 10_000];
    let cases: Vec<_> = GROUP
        .cases
        .iter()
        .zip([Changed::Port, Changed::Label])
        .filter(|(case, _)| options.wants(NAME, case))
        .collect();
    report.expect(counts.len() * cases.len());
    for policies in counts {
        report.doing(&format!("{NAME}: starting with {policies} policies"));
        let scene = Scene::new(policies)?;
        for (case, changed) in &cases {
            let samples: Vec<f64> = (0..options.pick(200, 10))
                .map(|number| Ok(scene.change(*changed, number)?.as_secs_f64() * 1e3))
                .collect::<Result<_>>()
                .with_context(|| format!("{case} of {policies} policies"))?;
            let summary = Summary::of(&samples).context("no samples")?;
            report.add(Figure::of(NAME, case, "ms", summary).with("policies", policies));
        }
    }
    Ok(())
}

/// A node with an agent that enforces.
struct Scene {
    cluster: Cluster,
    pins: PinDir,
    /// The interface of the pod that every change concerns.
    ifindex: u32,
}

impl Scene {
    fn new(policies: usize) -> Result<Self> {
        let mut cluster = Cluster::stopped(PREFIX, Wiring::Routed, Attach::Tcx)?;
        for policy in 0..policies {
            cluster.write(&file(policy), &manifest(policy, 0))?;
        }
        let peers: Vec<_> = (0..policies * PEERS).collect();
        for (number, peers) in peers.chunks(PODS_PER_FILE).enumerate() {
            let mut text = String::new();
            for peer in peers {
                // Writing to a string does not fail.
                let _ = writeln!(text, "{}---", pod(*peer));
            }
            cluster.write(&format!("peers-{number}.yaml"), &text)?;
        }
        cluster.write("roamer.yaml", &roamer(0))?;
        for local in 0..LOCAL {
            let address = Ipv4Addr::new(10, 2, 0, 1 + local as u8).to_string();
            let labels = format!("app: \"{local}\"");
            cluster.add_pod(&format!("default/local-{local}"), &labels, &[&address])?;
        }
        let ifindex = cluster.pod("default/local-0")?.ifindex;
        cluster.agent.start(&[])?;
        let status = cluster.agent.status()?;
        let isolated = status.endpoints.iter();
        let isolated = isolated.filter(|one| one.ingress.policies.len() == TOGETHER);
        ensure!(
            isolated.count() == LOCAL && status.failures.is_empty() && status.refused.is_empty(),
            "not every pod is isolated by {TOGETHER} policies: {:?} {:?}",
            status.failures,
            status.refused
        );
        let pins = PinDir::new(cluster.agent.pin_path());
        Ok(Self {
            cluster,
            pins,
            ifindex,
        })
    }

    /// Replaces a file and waits for the swap of the endpoint.
    fn change(&self, changed: Changed, number: usize) -> Result<Duration> {
        let (file, text) = match changed {
            Changed::Port => (file(0), manifest(0, number + 1)),
            Changed::Label => ("roamer.yaml".to_owned(), roamer(number + 1)),
        };
        let before = self.epoch()?;
        let start = Instant::now();
        self.cluster.write(&file, &text)?;
        while self.epoch()? == before {
            if start.elapsed() > PATIENCE {
                bail!(
                    "the change did not reach the kernel\n{}",
                    self.cluster.agent.log()
                );
            }
        }
        Ok(start.elapsed())
    }

    /// The epoch of the endpoint, as the pinned map has it now.
    fn epoch(&self) -> Result<u32> {
        let endpoints = self.pins.endpoints()?;
        let mut endpoints = endpoints.iter();
        let endpoint = endpoints.find(|endpoint| endpoint.ifindex == self.ifindex);
        Ok(endpoint.context("the endpoint is gone")?.epoch)
    }
}

fn file(policy: usize) -> String {
    format!("policy-{policy}.yaml")
}

/// A policy; `version` decides its port.
fn manifest(policy: usize, version: usize) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\n\
         kind: NetworkPolicy\n\
         metadata: {{name: policy-{policy}, namespace: default}}\n\
         spec:\n\
         \x20 podSelector: {{matchLabels: {{app: \"{app}\"}}}}\n\
         \x20 policyTypes: [Ingress]\n\
         \x20 ingress:\n\
         \x20 - from: [{{podSelector: {{matchLabels: {{peer: \"{policy}\"}}}}}}]\n\
         \x20   ports: [{{protocol: TCP, port: {port}}}]\n",
        app = policy / TOGETHER,
        port = 5000 + policy % 100 + 1000 * (version % 2),
    )
}

/// A pod of another node.
fn pod(peer: usize) -> String {
    let first = u32::from(Ipv4Addr::new(10, 64, 0, 0));
    let address = Ipv4Addr::from(first + peer as u32).to_string();
    let labels = format!("peer: \"{}\"", peer / PEERS);
    pod_manifest("default", &format!("peer-{peer}"), &labels, &[&address])
}

/// The pod that is a peer of a policy of a local pod in every other version.
fn roamer(version: usize) -> String {
    let labels = match version % 2 {
        0 => "",
        _ => "peer: \"1\"",
    };
    pod_manifest("default", ROAMER, labels, &[ROAMER_ADDRESS])
}
