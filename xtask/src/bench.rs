//! `bench`: what the project costs on this machine.

use anyhow::Result;

use crate::{
    launch::{self, Profile, Program},
    setup::{self, Need},
    workspace::Workspace,
};

/// Measure the datapath, the wire and the resolver on this machine (needs root; takes minutes)
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
