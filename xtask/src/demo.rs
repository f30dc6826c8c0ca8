//! `demo`: the main job, shown on a small cluster of network namespaces.

use anyhow::Result;

use crate::{
    cluster, image,
    launch::{self, Profile, Program},
    workspace::Workspace,
};

/// Enforce a policy between network namespaces on this machine, show who reaches whom, clean up
/// (needs root)
#[derive(clap::Args)]
pub(crate) struct Args {
    /// On a real Kubernetes cluster of two nodes, which is built first, once (some 15 minutes)
    #[arg(long)]
    cluster: bool,
    /// Arguments for the demo itself (`-- --help` lists them)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// The demo starts the agent that lies beside it. Neither is optimised: compiling would take four
/// times as long, and the programs in the kernel, which meet the packets, are the same.
const PROGRAMS: [Program; 2] = [("policy-demo", "demo"), ("policy-agent", "policy-agent")];

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: Args) -> Result<()> {
    if args.cluster {
        let image = image::archive(workspace, image::NAME)?;
        let mut words = ["demo", "--agent"].map(str::to_owned).to_vec();
        words.push(image.display().to_string());
        words.extend(args.args);
        return cluster::run_as_root(workspace, &words);
    }
    launch::run(workspace, &PROGRAMS, Profile::Dev, &args.args)
}
