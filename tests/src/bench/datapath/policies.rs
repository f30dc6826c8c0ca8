//! Whether the number of policies matters that select the pod.
//!
//! The traffic is the same for every number: that of a thousand peers of one policy. The further
//! policies select the same pod, and each allows a pod of its own that keeps silent.

use anyhow::Result;
use policy_common::{Direction, Reason};

use super::{
    super::Figure,
    Bench, ESTABLISHED, EVALUATE, FREE, INSERT, NAME, POLICIES, POLICIES_CHANGE,
    case::Case,
    frames::{self, Family},
    hot::{Flows, parameters},
    opening::{QUIET, Strangers},
    scene::{Cluster, OPEN, Subject},
};

const COUNTS: [u32; 4] = [10, 100, 1_000, 10_000];
const PEERS: u32 = 1_000;
/// Percent by which a path may cost more with the most policies than with the fewest.
const CHANGE: f64 = 15.0;

pub(super) fn policies(bench: &mut Bench<'_>) -> Result<()> {
    if !bench.wants(POLICIES) && !bench.wants(POLICIES_CHANGE) {
        return Ok(());
    }
    let mut first: Vec<f64> = Vec::new();
    for policies in COUNTS {
        let cluster = Cluster {
            policies,
            ..Cluster::of_peers(PEERS)
        };
        let mut scene = bench.scene(&format!("{policies} policies"), cluster, QUIET)?;
        let mut costs = Vec::new();
        for (path, family) in PATHS {
            // The flow is there only while it is needed: insertions are counted.
            let _flows = match path {
                ESTABLISHED => Some(Flows::establish(&mut scene, family, 0)?),
                _ => None,
            };
            let mut parameters = parameters(family, Direction::Ingress);
            parameters.push("path", path);
            parameters.push("policies", policies);
            let case = case(path, family);
            costs.push(bench.measure(POLICIES, &parameters, &case, &mut scene, None)?);
            scene.forget_flows()?;
        }
        if policies == COUNTS[0] {
            first = costs;
        } else if Some(&policies) == COUNTS.last() {
            change(bench, &first, &costs);
        }
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

fn change(bench: &mut Bench<'_>, fewest: &[f64], most: &[f64]) {
    for ((path, family), (fewest, most)) in PATHS.iter().zip(fewest.iter().zip(most)) {
        let percent = (most / fewest - 1.0) * 100.0;
        bench.report.expect(1);
        bench.report.add(
            Figure::single(NAME, POLICIES_CHANGE, "%", percent)
                .with("family", family.name())
                .with("path", path)
                .at_most(CHANGE),
        );
    }
}
