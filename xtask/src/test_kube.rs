//! `test-kube`: the tests that need a real control plane.

use anyhow::Result;

use crate::{
    command,
    setup::{self, Need},
    workspace::Workspace,
};

/// Test the API server as a source against a real one, which is built once (some 15 minutes); not part
/// of `test`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    // Built before any test's clock runs.
    setup::ensure(&[Need::Cluster])?;
    let mut cargo = workspace.cargo();
    cargo.args([
        "run",
        "--package",
        "policy-cluster",
        "--bin",
        "cluster",
        "--",
    ]);
    cargo.args(["build", "--control-plane-only"]);
    command::run(&mut cargo)?;
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--package", "policy-cluster", "--"]);
    // One control plane at a time.
    cargo.args(["--include-ignored", "--test-threads=1", "--nocapture"]);
    cargo.args(&args.filter);
    command::run(&mut cargo)
}
