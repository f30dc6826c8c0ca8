//! `cluster`: real Kubernetes on this machine.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    command, image,
    root::Root,
    setup::{self, Need},
    workspace::Workspace,
};

/// Start Kubernetes on this machine, built once (some 15 minutes): a control plane and two nodes of namespaces
/// with the agent as it is shipped, or end it (`up|down|status`; needs root, with `--control-plane-only` none)
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to do, and how (`-- --help` lists it)
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut args = args.args.clone();
    let has = |word: &str| args.iter().any(|one| one == word);
    if has("--control-plane-only") {
        setup::ensure(&[Need::Cluster])?;
        return command::run(std::process::Command::new(program(workspace)?).args(args));
    }
    if has("up") && !has("--agent") {
        args.push("--agent".to_owned());
        args.push(
            image::archive(workspace, image::NAME)?
                .display()
                .to_string(),
        );
    }
    run_as_root(workspace, &args)
}

/// Runs the crate's program as root, with all that nodes need.
pub(crate) fn run_as_root(workspace: &Workspace, args: &[String]) -> Result<()> {
    setup::ensure(&[Need::Cluster, Need::Nodes])?;
    let root = Root::acquire("make the namespaces of nodes")?;
    command::run(root.command(program(workspace)?).args(args))
}

/// Builds the crate's program.
pub(crate) fn program(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--package", "policy-cluster", "--bin", "cluster"]);
    command::run(&mut cargo)?;
    Ok(workspace.target.join("debug/cluster"))
}
