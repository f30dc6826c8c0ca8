//! Group `idle`: what an agent costs while nothing happens.
//!
//! The real agent enforces eight pods and nobody says anything, for ten minutes (`--quick`: ten
//! seconds). `agent` is the time that all its threads had a processor, by `schedstat`, in per cent of
//! one processor. What a start leaves to do – the tables are collected, the sweeps find their pace –
//! is waited for before.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use policy_harness::{Attach, Cluster, Wiring};

use crate::{
    group::Group,
    options::Options,
    report::{Figure, Report},
};

const NAME: &str = "idle";

/// The group.
pub(super) const GROUP: Group = Group {
    name: NAME,
    cases: &["agent"],
    run,
};

/// Prefix of every namespace.
const PREFIX: &str = "benchidle";
const PODS: usize = 8;
/// From the start until nothing of it is left to do.
const SETTLED: Duration = Duration::from_secs(15);
const WINDOW: Duration = Duration::from_secs(600);
const QUICK_WINDOW: Duration = Duration::from_secs(10);

const ISOLATED: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: isolated, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
";

fn run(options: &Options, report: &mut Report) -> Result<()> {
    report.expect(1);
    report.doing(&format!("{NAME}: starting"));
    let mut cluster = Cluster::stopped(PREFIX, Wiring::Routed, Attach::Tcx)?;
    cluster.write("isolated.yaml", ISOLATED)?;
    for pod in 0..PODS {
        let address = format!("10.4.0.{}", 1 + pod);
        cluster.add_pod(&format!("shop/pod-{pod}"), "app: web", &[&address])?;
    }
    cluster.agent.start(&[])?;
    let process = cluster.agent.status()?.agent.pid;
    thread::sleep(SETTLED);
    let window = options.pick(WINDOW, QUICK_WINDOW);
    report.doing(&format!("{NAME}: waiting for {} s", window.as_secs()));
    let (began, before) = (Instant::now(), busy(process)?);
    thread::sleep(window);
    let busy = busy(process)?.saturating_sub(before);
    let share = 100.0 * busy.as_secs_f64() / began.elapsed().as_secs_f64();
    let figure = Figure::single(NAME, "agent", "%", share);
    report.add(figure.with("pods", PODS).with("seconds", window.as_secs()));
    Ok(())
}

/// How long all threads of a process had a processor so far.
fn busy(process: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(PathBuf::from(format!("/proc/{process}/task")))? {
        let path = thread?.path().join("schedstat");
        let text = fs::read_to_string(&path)?;
        let busy = text
            .split_whitespace()
            .next()
            .context("an empty schedstat")?;
        nanoseconds += busy.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}
