//! `bench`: what the project costs on this machine, alone or beside another revision of itself.

mod baseline;

use anyhow::Result;

use crate::{
    launch::{self, Profile, Program},
    setup::{self, Need},
    workspace::Workspace,
};

/// Measure the datapath, the wire and the resolver on this machine (needs root; takes minutes)
///
/// With `--baseline REV`, that revision is built whole in a worktree below the target directory, and
/// both benches run case by case in processes of their own, A B B A in each round. Printed for every
/// row: ours, the baseline's, their ratio, the ratio of the baseline to itself (the spread), the
/// target of `tests/bench/targets.yaml`, and whether it is met. The task fails if a target is missed
/// by more than the spread.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Few rounds: shows that everything works, and about what it costs
    #[arg(long)]
    quick: bool,
    /// Only cases whose `group/case` contains this
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Write every figure to this file
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
    /// Show the figures of this file instead of measuring
    #[arg(long, value_name = "FILE")]
    from: Option<String>,
    /// Compare with this revision instead, by quick runs
    #[arg(long, value_name = "REV", conflicts_with_all = ["quick", "json", "from", "plot", "markdown"])]
    baseline: Option<String>,
    /// Rounds of each case of a comparison; both programs run twice in each
    #[arg(long, value_name = "N", default_value = "5", requires = "baseline")]
    rounds: u32,
    /// Draw nanoseconds per packet against the number of policies into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<String>,
    /// Write the figures as Markdown tables to this file
    #[arg(long, value_name = "FILE")]
    markdown: Option<String>,
}

/// The bench starts the agent of the suites, which is built with it.
const PROGRAMS: [Program; 2] = [
    ("policy-bench", "bench"),
    ("policy-suites", "policy-test-agent"),
];

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: Args) -> Result<()> {
    if args.from.is_none() {
        setup::ensure(&[Need::Bench])?;
    }
    let mut passed = Vec::new();
    if let Some(revision) = &args.baseline {
        setup::ensure(&[Need::Run])?;
        let program = baseline::bench_program(workspace, revision)?;
        let targets = workspace.root.join("tests/bench/targets.yaml");
        passed.extend([
            format!("--against={}", program.display()),
            format!("--targets={}", targets.display()),
            format!("--rounds={}", args.rounds),
        ]);
    }
    if args.quick {
        passed.push("--quick".to_owned());
    }
    for (value, flag) in [
        (args.filter, "--filter"),
        (args.json, "--json"),
        (args.from, "--from"),
        (args.plot, "--plot"),
        (args.markdown, "--markdown"),
    ] {
        passed.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
    }
    launch::run(workspace, &PROGRAMS, Profile::Release, &passed)
}
