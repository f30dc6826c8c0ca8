//! Group `datapath`: what one packet costs in the kernel, in nanoseconds above an empty program.
//!
//! Owns the cases. The programs are loaded as the agent loads them, but for the test seam; their
//! tables are filled by the resolver. Nothing is attached to an interface.

mod case;
mod frames;
mod hot;
mod scene;

use anyhow::{Context as _, Result};

use super::{Figure, Group, Options, Parameters, Report, interleave::Rounds};
use case::Case;
use scene::Scene;

/// Cases that make no difference between one packet and the next.
const FREE: &str = "free";
const ESTABLISHED: &str = "established";

pub(crate) const GROUP: Group = Group {
    name: NAME,
    cases: &[FREE, ESTABLISHED],
    run,
};

const NAME: &str = "datapath";
const UNIT: &str = "ns";

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let mut bench = Bench { options, report };
    hot::free(&mut bench)?;
    hot::established(&mut bench)
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
