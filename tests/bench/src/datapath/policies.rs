//! Whether the number of policies matters that select the pod.
//!
//! The traffic is the same for every number: that of a thousand peers of one policy. The further
//! policies select the same pod, and each allows a pod of its own that keeps silent.

use anyhow::{Context as _, Result};
use policy_common::{Direction, Reason};

use super::{
    Bench, ESTABLISHED, EVALUATE, FREE, INSERT, NAME, POLICIES, POLICIES_CHANGE, UNIT, case::Case,
    frames, frames::Family, hot::Flows, hot::parameters, opening::QUIET, opening::Strangers,
    scene::Cluster, scene::OPEN, scene::Scene, scene::Subject,
};
use crate::{interleave::Rounds, report::Figure, summary::Summary};

const COUNTS: [u32; 4] = [10, 100, 1_000, 10_000];
const PEERS: u32 = 1_000;
/// Percent by which a path may cost more with the most policies than with the fewest.
const CHANGE: f64 = 15.0;
const TURNS: usize = 9;

pub(super) fn policies(bench: &mut Bench<'_>) -> Result<()> {
    if !bench.wants(POLICIES) && !bench.wants(POLICIES_CHANGE) {
        return Ok(());
    }
    let mut scenes = Vec::new();
    for policies in COUNTS {
        let cluster = Cluster {
            policies,
            ..Cluster::of_peers(PEERS)
        };
        scenes.push(bench.scene(&format!("{policies} policies"), cluster, QUIET)?);
    }
    for (path, family) in PATHS {
        measure(bench, &mut scenes, path, family)
            .with_context(|| format!("{POLICIES} {path} {}", family.name()))?;
    }
    Ok(())
}

/// Measures one path with every number of policies in turn: they are compared with each other, so they
/// must see the same machine.
fn measure(
    bench: &mut Bench<'_>,
    scenes: &mut [Scene],
    path: &'static str,
    family: Family,
) -> Result<()> {
    bench.report.expect(COUNTS.len() + 1);
    if path == ESTABLISHED {
        for scene in &mut *scenes {
            Flows::establish(scene, family, 0)?;
        }
    }
    let case = case(path, family);
    let all = bench.rounds();
    let rounds = Rounds {
        count: all.count.div_ceil(TURNS),
        ..all
    };
    let mut costs = vec![Vec::new(); scenes.len()];
    for _ in 0..TURNS {
        for (scene, costs) in scenes.iter_mut().zip(&mut costs) {
            costs.push(case.measure(scene, rounds)?.median);
        }
    }
    let changes: Vec<f64> = costs[0]
        .iter()
        .zip(&costs[COUNTS.len() - 1])
        .map(|(fewest, most)| (most / fewest - 1.0) * 100.0)
        .collect();
    for (policies, costs) in COUNTS.into_iter().zip(&costs) {
        let mut parameters = parameters(family, Direction::Ingress);
        parameters.push("path", path);
        parameters.push("policies", policies);
        let summary = Summary::of(costs).context("no turns")?;
        bench
            .report
            .add(Figure::of(NAME, POLICIES, UNIT, summary).with_all(&parameters));
    }
    let change = Summary::of(&changes).context("no turns")?;
    bench.report.add(
        Figure::of(NAME, POLICIES_CHANGE, "%", change)
            .with("family", family.name())
            .with("path", path)
            .at_most(Some(CHANGE)),
    );
    for scene in scenes {
        scene.forget_flows()?;
    }
    Ok(())
}

const PATHS: [(&str, Family); 6] = [
    (FREE, Family::V4),
    (ESTABLISHED, Family::V4),
    (ESTABLISHED, Family::V6),
    (EVALUATE, Family::V4),
    (EVALUATE, Family::V6),
    (INSERT, Family::V4),
];

fn case(path: &str, family: Family) -> Case {
    let direction = Direction::Ingress;
    let strangers = Strangers {
        family,
        direction,
        count: PEERS,
        in_blocks: false,
    };
    let ack = |subject: Subject| frames::ack(subject.called(family, OPEN), direction);
    match path {
        FREE => Case::hot(
            Subject::Free,
            direction,
            ack(Subject::Free),
            Reason::NotIsolated,
        ),
        ESTABLISHED => Case::hot(
            Subject::Isolated,
            direction,
            ack(Subject::Isolated),
            Reason::Flow,
        ),
        INSERT => strangers.admitted(),
        _ => strangers.refused(),
    }
}
