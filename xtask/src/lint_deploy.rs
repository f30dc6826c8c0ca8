//! `lint-deploy`: the chart beside the kustomize base.

use anyhow::Result;

use crate::{
    command,
    setup::{self, Need},
    workspace::Workspace,
};

/// Compare what the Helm chart renders with what the kustomize base does, object by object, with a helm that is
/// built once (some four minutes); not part of `ci`
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, _: &Args) -> Result<()> {
    setup::ensure(&[Need::Cluster])?;
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--quiet", "--package", "policy-deploy"]);
    command::run(&mut cargo)
}
