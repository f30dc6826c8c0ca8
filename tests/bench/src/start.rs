//! Group `start`: how long the pods of a node wait for the agent.
//!
//! The real agent starts on a node all of whose pods are isolated both ways. Their hooks are looked
//! at from outside, in the kernel: time counts from the first program that is seen on any of them.
//! `isolated` is when every hook has a program, by whatever mechanism; `hooks` when all stand as
//! they are to stay; `one_attach` is what attaching one program to one hook takes on this machine,
//! now; `hooks_per_attach` is `hooks` in units of that, per hook. `edited` is how long a policy takes
//! that is edited while programs are attached, until the pinned map says so; `named` how long the agent
//! takes from its start until it enforces among many network namespaces that have names, of which none
//! is a pod's.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use aya::programs::TcAttachType::{self, Egress, Ingress};
use policy_agent::datapath::{
    PinDir,
    chain::{Attachment, Entry, chain},
};
use policy_common::Endpoint;
use policy_harness::{Attach, Cluster, Foreign, Netns, Wiring, foreign::Place};

use crate::{
    group::Group,
    options::Options,
    report::{Figure, Report},
    summary::Summary,
};

const NAME: &str = "start";

/// The group.
pub(super) const GROUP: Group = Group {
    name: NAME,
    cases: &CASES,
    run,
};

const CASES: [&str; 6] = [
    "isolated",
    "hooks",
    "one_attach",
    "hooks_per_attach",
    "edited",
    "named",
];
/// Cases of which there is one for each of [`PODS`].
const EACH: usize = 4;
/// Prefix of every namespace.
const PREFIX: &str = "benchstart";
/// What a node has by default, and a large one.
const PODS: [usize; 2] = [110, 300];
/// Network namespaces that have names.
const NAMED: usize = 303;
/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// Lets later programs run.
const TC_ACT_UNSPEC: i32 = -1;

const ISOLATED: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: isolated, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
";

/// Measures seconds on a node with so many pods.
type Measure = fn(usize) -> Result<f64>;

/// It selects all pods but those that are no web servers.
const EDITED: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: isolated, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress]}
";

fn run(options: &Options, report: &mut Report) -> Result<()> {
    if CASES[..EACH].iter().any(|case| options.wants(NAME, case)) {
        first_starts(options, report)?;
    }
    let [edits, _] = PODS;
    let others: [(&str, usize, Measure); 2] = [("edited", edits, edited), ("named", NAMED, named)];
    for (case, pods, measure) in others {
        if options.wants(NAME, case) {
            report.expect(1);
            report.doing(&format!("{NAME}/{case}: making {pods} pods"));
            let took = measure(pods).with_context(|| case.to_owned())?;
            report.add(Figure::single(NAME, case, "s", took).with("pods", pods));
        }
    }
    Ok(())
}

/// A node with pods of one namespace; its agent does not run yet.
fn node(pods: usize) -> Result<Cluster> {
    let mut cluster = Cluster::stopped(PREFIX, Wiring::Routed, Attach::Tcx)?;
    for pod in 0..pods {
        let address = format!("10.4.{}.{}", pod / 200, 1 + pod % 200);
        let labels = if pod == 0 { "app: other" } else { "app: web" };
        cluster.add_pod(&format!("shop/pod-{pod}"), labels, &[&address])?;
    }
    Ok(cluster)
}

/// Seconds until a policy that was edited is in force, which does not isolate the first pod any more.
fn edited(pods: usize) -> Result<f64> {
    let mut cluster = node(pods)?;
    cluster.write("isolated.yaml", ISOLATED)?;
    cluster.agent.begin(&[])?;
    cluster.agent.wait("programs are attached", |agent| {
        let status = agent.status().ok();
        Ok(status.is_some_and(|status| status.agent.state == "attaching programs"))
    })?;
    let first = cluster.node.pods().first().context("no pod")?.ifindex;
    let pins = PinDir::new(cluster.agent.pin_path());
    let began = Instant::now();
    cluster.write("isolated.yaml", EDITED)?;
    cluster.agent.wait("the first pod is open", |_| {
        let endpoints = pins.endpoints()?;
        let mut isolated = endpoints
            .iter()
            .filter(|one| one.has(Endpoint::INGRESS_ISOLATED));
        Ok(!isolated.any(|one| one.ifindex == first))
    })?;
    let took = began.elapsed().as_secs_f64();
    if cluster.agent.status()?.agent.enforcing {
        bail!("all programs stood before the policy was in force");
    }
    Ok(took)
}

/// Seconds from the start until the agent enforces.
fn named(pods: usize) -> Result<f64> {
    let mut cluster = node(pods)?;
    for manifest in fs::read_dir(cluster.manifests())? {
        fs::remove_file(manifest?.path())?;
    }
    let began = Instant::now();
    cluster.agent.start(&[])?;
    Ok(began.elapsed().as_secs_f64())
}

fn first_starts(options: &Options, report: &mut Report) -> Result<()> {
    report.expect(PODS.len() * EACH);
    for pods in PODS {
        report.doing(&format!("{NAME}: making {pods} pods"));
        let seen = start(pods).with_context(|| format!("{pods} pods"))?;
        let hooks = 2.0 * pods as f64;
        let attach = seen.one_attach.median / 1e3;
        let figures = [
            Figure::single(NAME, "isolated", "s", seen.isolated.as_secs_f64()),
            Figure::single(NAME, "hooks", "s", seen.hooks.as_secs_f64()),
            Figure::of(NAME, "one_attach", "ms", seen.one_attach),
            Figure::single(
                NAME,
                "hooks_per_attach",
                "×",
                seen.hooks.as_secs_f64() / (hooks * attach),
            ),
        ];
        for figure in figures {
            if options.wants(NAME, &figure.case) {
                report.add(figure.with("pods", pods));
            }
        }
    }
    Ok(())
}

/// What was seen of one start.
struct Seen {
    isolated: Duration,
    hooks: Duration,
    /// In milliseconds.
    one_attach: Summary,
}

fn start(pods: usize) -> Result<Seen> {
    let mut cluster = node(pods)?;
    cluster.write("isolated.yaml", ISOLATED)?;
    let links: Vec<u32> = cluster.node.pods().iter().map(|pod| pod.ifindex).collect();
    let watch = cluster.node.host.spawn(move || watch(&links))?;
    cluster.agent.start(&[])?;
    let Ok(seen) = watch.join() else {
        bail!("watching the hooks panicked");
    };
    let (isolated, hooks) = seen??;
    Ok(Seen {
        isolated,
        hooks,
        one_attach: one_attach(&cluster)?,
    })
}

/// Looks at the hooks of these interfaces until all have TCX programs: from the first program on,
/// how long until each has any, and until each has the one that stays.
///
/// A look takes the kernel's lock of all interfaces, which the agent needs too: at most half of the
/// time goes into looking, and hooks that stand are not looked at again.
fn watch(links: &[u32]) -> Result<(Duration, Duration)> {
    let hooks = |link: &u32| [(*link, Ingress), (*link, Egress)];
    let mut moving: Vec<(u32, TcAttachType)> = links.iter().flat_map(hooks).collect();
    let all = moving.len();
    let began = Instant::now();
    let (mut first, mut isolated) = (None, None);
    while !moving.is_empty() {
        if began.elapsed() > PATIENCE {
            bail!("{} of {all} hooks stand", all - moving.len());
        }
        let looked = Instant::now();
        let mut left = Vec::new();
        let mut bare = 0;
        for (link, hook) in moving {
            let entries = chain(link, hook)?.entries;
            let stands = |entry: &Entry| entry.attachment == Attachment::Tcx;
            if entries.is_empty() {
                bare += 1;
            }
            if !entries.iter().any(stands) {
                left.push((link, hook));
            }
        }
        moving = left;
        if bare < all {
            first.get_or_insert(looked);
        }
        if bare == 0 {
            isolated.get_or_insert_with(Instant::now);
        }
        thread::sleep(looked.elapsed());
    }
    let end = Instant::now();
    let first = first.context("no program was ever seen")?;
    let isolated = isolated.context("no hook was ever seen with a program")?;
    Ok((isolated.duration_since(first), end.duration_since(first)))
}

/// Attaching a program of two instructions behind the agent's, again and again.
fn one_attach(cluster: &Cluster) -> Result<Summary> {
    let pod = cluster.node.pods().first().context("no pod")?;
    let host: &Netns = &cluster.node.host;
    let mut program = Foreign::returning("bench", TC_ACT_UNSPEC)?;
    let mut times = Vec::new();
    for _ in 0..9 {
        let began = Instant::now();
        let attached = program.attach(host, &pod.interface, Ingress, Place::TcxLast)?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        drop(attached);
    }
    Summary::of(&times).context("no samples")
}
