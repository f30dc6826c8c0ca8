//! `test-kube`: the tests that need real Kubernetes.

use anyhow::Result;

use crate::{
    cluster, command, image,
    root::Root,
    setup::{self, Need},
    workspace::Workspace,
};

/// Cargo starts a test by this, for the target of this machine.
const RUNNER: &str = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER";

/// Test against real Kubernetes, which is built once (some 15 minutes): the API server as a source, and the
/// agent as it is shipped on two nodes (needs root); not part of `test`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only what needs no nodes, and no root
    #[arg(long)]
    control_plane_only: bool,
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    // Built before any test's clock runs.
    setup::ensure(&[Need::Cluster])?;
    let mut build = std::process::Command::new(cluster::program(workspace)?);
    build.arg("build");
    if args.control_plane_only {
        build.arg("--control-plane-only");
    }
    command::run(&mut build)?;
    let test = |targets: &[&str]| {
        let mut cargo = workspace.cargo();
        cargo.args(["test", "--package", "policy-cluster"]);
        cargo.args(targets);
        // One control plane at a time.
        cargo.args(["--", "--include-ignored", "--test-threads=1", "--nocapture"]);
        cargo.args(&args.filter);
        cargo
    };
    command::run(&mut test(&["--lib", "--bins", "--test", "source"]))?;
    if args.control_plane_only {
        return Ok(());
    }
    setup::ensure(&[Need::Nodes])?;
    let image = image::archive(workspace, image::NAME)?;
    let mut nodes = test(&["--test", "installed"]);
    nodes.env("POLICY_AGENT_IMAGE", image);
    if Root::acquire("make the namespaces of nodes")? == Root::Sudo {
        nodes.env(RUNNER, "sudo -E --");
    }
    command::run(&mut nodes)
}
