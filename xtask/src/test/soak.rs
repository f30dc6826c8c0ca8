//! `soak`: the long forms of suites: one kills the agent, one asks a resolver.

use anyhow::{Context as _, Result};

use super::build::{self, Selection};
use crate::{
    build_ebpf, command,
    root::Root,
    setup::{self, Need},
    workspace::Workspace,
};

/// Kill the agent at random moments, under traffic, with full tables and others' programs in its way
/// (needs root)
///
/// Every packet is accounted for: one that should be answered and is not, or the reverse, ends the run
/// with an error. The tests' own run has a few kills; a thousand take about an hour.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often the agent is killed
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    rounds: u32,
    /// Ask a resolver whose pod is isolated both ways instead, from ever other ports and up to 50,000 times a
    /// second, and print how many questions a second it answers with the agent and without
    #[arg(long)]
    udp: bool,
    /// How long it is asked in each family, routed and bridged
    #[arg(long, value_name = "N", default_value_t = 120, requires = "udp")]
    seconds: u32,
}

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::ensure(&[Need::Run])?;
    let root = Root::acquire("make network namespaces and load BPF programs")?;
    build_ebpf::release(workspace)?;
    let jobs = build::test_programs(workspace, Selection::Suites(root))?;
    let mut soak = jobs
        .into_iter()
        .find(|job| job.name.contains("lifecycle"))
        .context("the suite `lifecycle` was not built")?
        .command;
    if args.udp {
        soak.args(["resolver::", "--nocapture"])
            .env("POLICY_UDP_SECONDS", args.seconds.to_string());
    } else {
        soak.args(["kills::", "--nocapture"])
            .env("POLICY_KILLS", args.rounds.to_string());
    }
    command::run(&mut soak)
}
