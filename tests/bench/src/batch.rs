//! Group `batch`: what a large change does to what comes after it.
//!
//! The real agent follows a directory. `deny` is how long a policy that closes a pod takes, from its
//! file's replacement until the pinned map says that the pod is isolated: alone, and written right
//! after a file with 10,000 pods that a policy's peers include. `status` is the longest that an
//! answer took meanwhile, `sigterm` how long the agent took to end when it was told so in the middle
//! of such a batch.

use std::{
    fmt::Write as _,
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use policy_agent::datapath::PinDir;
use policy_common::Endpoint;
use policy_harness::{Attach, Cluster, Wiring, cluster::pod_manifest};

use crate::{
    group::Group,
    options::Options,
    report::{Figure, Report},
    summary::Summary,
};

const NAME: &str = "batch";

/// The group.
pub(super) const GROUP: Group = Group {
    name: NAME,
    cases: &CASES,
    run,
};

const CASES: [&str; 4] = ["deny", "deny_ratio", "status", "sigterm"];
/// Prefix of every namespace.
const PREFIX: &str = "benchbatch";
/// Pods of a batch.
const PODS: usize = 10_000;
/// How long a change may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// The pod that is closed and opened.
const VICTIM: &str = "shop/victim";
/// From a batch's writing until the agent is in the middle of it: it waits 100 ms for the file to
/// rest.
const UNDER_WAY: Duration = Duration::from_millis(400);

/// The pods of a batch are peers of a pod of this node, so that each is written to the kernel.
const PEERS: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: peers, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {role: peer}}}]}]
";
const DENY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {matchLabels: {app: victim}}, policyTypes: [Ingress]}
";

fn run(options: &Options, report: &mut Report) -> Result<()> {
    report.expect(5);
    report.doing(&format!("{NAME}: starting"));
    let mut scene = Scene::new()?;
    let alone: Vec<f64> = (0..options.pick(9, 5))
        .map(|_| scene.deny_and_lift())
        .collect::<Result<_>>()?;
    let alone = Summary::of(&alone).context("no samples")?;
    let (after, status) = scene.deny_behind_a_batch()?;
    let sigterm = scene.ended_in_a_batch()?;
    let figures = [
        Figure::of(NAME, "deny", "ms", alone).with("after", "nothing"),
        Figure::single(NAME, "deny", "ms", after).with("after", format!("{PODS}-pods")),
        Figure::single(NAME, "deny_ratio", "×", after / alone.median).with("pods", PODS),
        Figure::single(NAME, "status", "ms", status).with("pods", PODS),
        Figure::single(NAME, "sigterm", "ms", sigterm).with("pods", PODS),
    ];
    for figure in figures {
        if options.wants(NAME, &figure.case) {
            report.add(figure);
        }
    }
    Ok(())
}

/// A node with an agent that enforces.
struct Scene {
    cluster: Cluster,
    pins: PinDir,
    victim: u32,
}

impl Scene {
    fn new() -> Result<Self> {
        let mut cluster = Cluster::stopped(PREFIX, Wiring::Routed, Attach::Tcx)?;
        cluster.write("peers.yaml", PEERS)?;
        cluster.add_pod("shop/web", "app: web", &["10.2.0.1"])?;
        let victim = cluster
            .add_pod(VICTIM, "app: victim", &["10.2.0.2"])?
            .ifindex;
        cluster.agent.start(&[])?;
        let pins = PinDir::new(cluster.agent.pin_path());
        Ok(Self {
            cluster,
            pins,
            victim,
        })
    }

    /// Milliseconds until a deny is in force; then it is lifted.
    fn deny_and_lift(&mut self) -> Result<f64> {
        let took = self.deny()?;
        self.cluster.remove("deny.yaml")?;
        self.until(false)?;
        Ok(took)
    }

    fn deny(&self) -> Result<f64> {
        let began = Instant::now();
        self.cluster.write("deny.yaml", DENY)?;
        self.until(true)?;
        Ok(began.elapsed().as_secs_f64() * 1e3)
    }

    /// Milliseconds until a deny is in force that was written behind a batch, and of the slowest
    /// answer to a question meanwhile.
    fn deny_behind_a_batch(&mut self) -> Result<(f64, f64)> {
        self.cluster.write("batch.yaml", &pods("peer")?)?;
        let is_over = AtomicBool::new(false);
        let (took, slowest) = thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let mut slowest = Duration::ZERO;
                while !is_over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    // An error is an answer that never came.
                    let answered = self.cluster.agent.status().is_ok();
                    slowest = slowest.max(if answered { began.elapsed() } else { PATIENCE });
                    thread::sleep(Duration::from_millis(5));
                }
                slowest
            });
            let took = self.deny();
            is_over.store(true, Ordering::Relaxed);
            (took, asking.join())
        });
        let Ok(slowest) = slowest else {
            bail!("asking for the status panicked");
        };
        self.cluster.await_revision()?;
        Ok((took?, slowest.as_secs_f64() * 1e3))
    }

    /// Milliseconds until the agent ends, in the middle of a batch.
    fn ended_in_a_batch(&mut self) -> Result<f64> {
        self.cluster.write("batch.yaml", &pods("former")?)?;
        thread::sleep(UNDER_WAY);
        let began = Instant::now();
        self.cluster.agent.stop()?;
        Ok(began.elapsed().as_secs_f64() * 1e3)
    }

    /// Waits until the pinned map has the pod isolated, or not.
    fn until(&self, isolated: bool) -> Result<()> {
        let began = Instant::now();
        loop {
            let endpoints = self.pins.endpoints()?;
            let mut endpoints = endpoints.iter();
            let victim = endpoints.find(|endpoint| endpoint.ifindex == self.victim);
            let flags = victim.map_or(0, |endpoint| endpoint.flags);
            if (flags & Endpoint::INGRESS_ISOLATED != 0) == isolated {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                bail!(
                    "{VICTIM} is not isolated={isolated}\n{}",
                    self.cluster.agent.log()
                );
            }
            thread::sleep(Duration::from_micros(200));
        }
    }
}

/// The pods of a batch, elsewhere, in one file.
fn pods(role: &str) -> Result<String> {
    let first = u32::from(Ipv4Addr::new(10, 64, 0, 0));
    let mut text = String::new();
    for pod in 0..PODS {
        let address = Ipv4Addr::from(first + pod as u32).to_string();
        let labels = format!("role: {role}");
        let pod = pod_manifest("shop", &format!("peer-{pod}"), &labels, &[&address]);
        writeln!(text, "{pod}---")?;
    }
    Ok(text)
}
