//! `bench`: measures the kernel programs and the resolver.

use anyhow::Result;

use crate::{
    launch::{self, Profile},
    workspace::Workspace,
};

/// Measure the datapath and the resolver on this machine (needs root)
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Arguments for the benchmark itself (`-- --help` lists them)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: Args) -> Result<()> {
    launch::run(workspace, "bench", Profile::Release, &args.args)
}
