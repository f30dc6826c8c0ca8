//! x
use crate::workspace::Workspace;
use anyhow::Result;
/// x
#[derive(clap::Args)]
pub(crate) struct Args {}
pub(crate) fn run(_: &Workspace, _: &Args) -> Result<()> {
    anyhow::bail!("x")
}
