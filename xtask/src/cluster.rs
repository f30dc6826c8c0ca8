//! `cluster`: a real control plane on this machine.

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

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::ensure(&[Need::Cluster])?;
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--package", "policy-cluster", "--bin", "cluster"]);
    command::run(&mut cargo)?;
    let program = workspace.target.join("debug/cluster");
    command::run(std::process::Command::new(program).args(&args.args))
}
