//! The resolver, without a kernel: what a full compile and single changes cost on a node of a
//! small, a middling and a large cluster.
//!
//! Owns the generated clusters and the changes. Every size runs in a process of its own, so that
//! its largest resident size is that of one compile. Invariant: every measured change is one that
//! the node's tables must follow, and is checked to have changed them.

mod changes;
mod cluster;
mod compile;
mod policies;
mod process;
mod relevance;
mod turns;
mod world;

use std::time::Duration;

use anyhow::{Context as _, Result};

use self::{changes::Samples, cluster::Cluster, world::World};
use crate::{cpu, cpu::Pinned, group::Group, options::Options, report::Figure, summary::Summary};

pub use self::process::{Size, figures, parse_size};

const NAME: &str = "resolver";

pub(super) const GROUP: Group = Group {
    name: NAME,
    cases: &CASES,
    run: process::run,
};

const CASES: [&str; 11] = [
    "compile",
    "memory",
    "pod_added",
    "pod_relabelled",
    "pod_removed",
    "pod_changed_p99",
    "policy_changed",
    "block_splits",
    "namespace_relabelled",
    "collect",
    "turn",
];

/// The size for which there are bars.
const BARRED: Size = Size {
    pods: 150_000,
    policies: 10_000,
};

/// Milliseconds that the loop may spend on one turn: an end (SIGTERM) that comes meanwhile
/// waits for it, and has a second.
const LONGEST_TURN: f64 = 500.0;

/// The same cluster in every run.
const SEED: u64 = 1;

/// Measures one size in this process, which must be a new one.
fn measure(options: &Options, size: Size) -> Result<Vec<Figure>> {
    let _pinned = Pinned::to(cpu::last()?)?;
    let cluster = Cluster::new(size.pods, size.policies, SEED);
    let bar = |limit: f64| (size == BARRED).then_some(limit);
    let mut figures = Vec::new();

    let before = compile::memory("VmRSS")?;
    let mut compiled = compile::compile(&cluster)?;
    let peak = compile::memory("VmHWM")?;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let memory = |of, bytes| {
        let figure = Figure::single(NAME, "memory", "MB", megabytes(bytes));
        figure.with("of", of)
    };
    figures.push(memory("process", peak).at_most(bar(300.0)));
    figures.push(memory("cluster", peak.saturating_sub(before)));

    let mut compiles = vec![compiled.took];
    while compiles.len() < options.pick(9, 3) {
        drop(compiled);
        compiled = compile::compile(&cluster)?;
        compiles.push(compiled.took);
    }
    figures.push(summary("compile", &compiles, Unit::Milliseconds)?.at_most(bar(2000.0)));

    let mut world = World::new(cluster, compiled)?;
    let pods = options.pick(1000, 100);
    for (place, local) in [("remote", false), ("local", true)] {
        let [added, removed] = changes::come_and_go(&mut world, local, pods)?;
        let relabelled = changes::relabelled(&mut world, local, pods)?;
        for (case, samples) in [
            ("pod_added", added),
            ("pod_relabelled", relabelled),
            ("pod_removed", removed),
        ] {
            let figure = summary(case, &samples, Unit::Microseconds)?.with("pod", place);
            let p99 = figure.p99.context("too few samples for p99")?;
            let change = case.trim_start_matches("pod_");
            figures.push(figure);
            let p99 = Figure {
                samples: samples.len(),
                ..Figure::single(NAME, "pod_changed_p99", "µs", p99)
            };
            let p99 = p99.with("pod", place).with("change", change);
            figures.push(p99.at_most(bar(1000.0)));
        }
    }
    let policies = changes::policy(&mut world, options.pick(200, 20))?;
    figures.push(summary("policy_changed", &policies, Unit::Microseconds)?);
    let splits = changes::split(&mut world, options.pick(100, 10))?;
    figures.push(summary("block_splits", &splits, Unit::Microseconds)?);
    let namespaces = changes::namespace(&mut world, options.pick(200, 20))?;
    figures.push(summary(
        "namespace_relabelled",
        &namespaces,
        Unit::Microseconds,
    )?);
    let collections = world.take_collected();
    let pods = turns::PODS.min(size.pods / 2);
    let turns = turns::turns(&mut world, pods, options.pick(9, 3))?;
    for (change, samples) in [
        ("removed", turns.removed),
        ("added", turns.added),
        ("relabelled", turns.relabelled),
    ] {
        let figure = summary("turn", &samples, Unit::Milliseconds)?;
        let figure = figure.with("of", pods).with("change", change);
        figures.push(figure.at_most(bar(LONGEST_TURN)));
    }
    if !turns.all_named.is_empty() {
        let figure = summary("turn", &turns.all_named, Unit::Milliseconds)?;
        let figure = figure.with("of", size.pods).with("change", "all-named");
        figures.push(figure.at_most(bar(LONGEST_TURN)));
    }
    figures.push(summary("collect", &collections, Unit::Microseconds)?);
    world.check()?;

    let sized = figures.into_iter().map(|figure| {
        Figure {
            parameters: size.parameters(),
            ..figure.clone()
        }
        .with_all(&figure.parameters)
    });
    Ok(sized.collect())
}

#[derive(Clone, Copy)]
enum Unit {
    Microseconds,
    Milliseconds,
}

fn summary(case: &str, samples: &Samples, unit: Unit) -> Result<Figure> {
    let (name, scale) = match unit {
        Unit::Microseconds => ("µs", 1e6),
        Unit::Milliseconds => ("ms", 1e3),
    };
    let scaled: Vec<f64> = samples
        .iter()
        .map(|sample: &Duration| sample.as_secs_f64() * scale)
        .collect();
    let summary = Summary::of(&scaled).context("no samples")?;
    Ok(Figure::of(NAME, case, name, summary))
}
