//! `bench`: what the project costs on this machine.

use anyhow::Result;

use crate::{
    launch::{self, Profile},
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
}

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: Args) -> Result<()> {
    let mut passed = Vec::new();
    if args.quick {
        passed.push("--quick".to_owned());
    }
    for (value, flag) in [
        (args.filter, "--filter"),
        (args.json, "--json"),
        (args.from, "--from"),
    ] {
        passed.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
    }
    launch::run(workspace, "bench", Profile::Release, &passed)
}
