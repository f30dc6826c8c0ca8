//! Group `datapath`: what one packet costs in the kernel, in nanoseconds above an empty program.
//!
//! Owns the cases. The programs are loaded as the agent loads them, but for the test seam; their
//! tables are filled by the resolver. Nothing is attached to an interface.

mod case;
mod denied;
mod frames;
mod hot;
mod odd;
mod opening;
mod policies;
mod scene;

use anyhow::{Context as _, Result, ensure};
use policy_common::Config;

pub(crate) use self::{
    case::{Case, Paths},
    frames::Family,
    hot::Flows,
    opening::{QUIET, Strangers},
    scene::{Cluster, Scene},
};
use crate::{
    group::Group, interleave::Rounds, options::Options, report::Figure, report::Parameters,
    report::Report,
};

pub(crate) const GROUP: Group = Group {
    name: NAME,
    cases: &[
        FREE,
        ESTABLISHED,
        DENIED,
        EVALUATE,
        INSERT,
        BLOCKS,
        POLICIES,
        POLICIES_CHANGE,
        FRAGMENT,
        EXTENSIONS,
        ICMP_ERROR,
    ],
    run,
};

const NAME: &str = "datapath";
const UNIT: &str = "ns";

const FREE: &str = "free";
const ESTABLISHED: &str = "established";
const DENIED: &str = "denied";
const EVALUATE: &str = "evaluate";
const INSERT: &str = "insert";
const BLOCKS: &str = "blocks";
const POLICIES: &str = "policies";
const POLICIES_CHANGE: &str = "policies_change";
const FRAGMENT: &str = "fragment";
const EXTENSIONS: &str = "extensions";
const ICMP_ERROR: &str = "icmp_error";

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let mut bench = Bench { options, report };
    let mut failures = Vec::new();
    for measure in [
        hot::free,
        hot::established,
        denied::denied,
        opening::peers,
        opening::blocks,
        policies::policies,
        odd::fragment,
        odd::extensions,
        odd::icmp_error,
    ] {
        // One kind of packet that goes astray leaves the figures of the others.
        failures.extend(measure(&mut bench).err());
    }
    let failures: Vec<String> = failures
        .iter()
        .map(|failure| format!("{failure:#}"))
        .collect();
    ensure!(failures.is_empty(), "{}", failures.join("; "));
    Ok(())
}

/// What the cases have in common.
struct Bench<'a> {
    options: &'a Options,
    report: &'a mut Report,
}

impl Bench<'_> {
    fn wants(&self, case: &str) -> bool {
        self.options.wants(NAME, case)
    }

    /// Says that a cluster is being compiled, which may take a while, and does it.
    fn scene(&mut self, doing: &str, cluster: Cluster, config: Config) -> Result<Scene> {
        self.report.doing(doing);
        Scene::new(cluster, config)
    }

    /// Half a millisecond and more per run, and enough runs for a median that stands.
    fn rounds(&self) -> Rounds {
        self.options.pick(
            Rounds {
                count: 61,
                repeat: 16_384,
            },
            Rounds {
                count: 9,
                repeat: 4_096,
            },
        )
    }

    /// Measures a case and reports it.
    fn measure(
        &mut self,
        name: &str,
        parameters: &Parameters,
        case: &Case,
        scene: &mut Scene,
        bar: Option<f64>,
    ) -> Result<f64> {
        let rounds = self.rounds();
        self.report.expect(1);
        let summary = case
            .measure(scene, rounds)
            .with_context(|| format!("{name} {parameters}"))?;
        self.report.add(
            Figure::of(NAME, name, UNIT, summary)
                .with_all(parameters)
                .at_most(bar),
        );
        Ok(summary.median)
    }
}
