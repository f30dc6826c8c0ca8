//! `cluster` and `test-kube`: a real control plane on this machine, and the tests that need one.

use anyhow::Result;

use crate::{
    command,
    setup::{self, Need},
    workspace::Workspace,
};

/// Start etcd and kube-apiserver on this machine's loopback, built once (some 15 minutes), or end them
/// (`up|down|status --control-plane-only`; no root)
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to do, and how (`-- --help` lists it)
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Test the API server as a source against a real one, which is built once (some 15 minutes); not part
/// of `test`
#[derive(clap::Args)]
pub(crate) struct TestArgs {
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// Runs `cluster`.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::ensure(&[Need::Cluster])?;
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--package", "policy-cluster", "--bin", "cluster"]);
    command::run(&mut cargo)?;
    let program = workspace.target.join("debug/cluster");
    command::run(std::process::Command::new(program).args(&args.args))
}

/// Runs `test-kube`.
pub(crate) fn test(workspace: &Workspace, args: &TestArgs) -> Result<()> {
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
