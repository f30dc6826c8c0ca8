//! `ci`: what a change must pass, in the order in which it is cheapest to fail.

use anyhow::Result;

use crate::{build_ebpf, command, setup, test, workspace::Workspace};

/// Check formatting, lints (host and BPF target) and documentation, then run all tests
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, _: &Args) -> Result<()> {
    setup::ensure_host_lints(workspace)?;
    command::run(workspace.cargo().args(["fmt", "--all", "--check"]))?;
    lint_host(workspace)?;
    // Alone: in the workspace other crates switch on what its own dependencies may lack.
    command::run(
        workspace
            .cargo()
            .args(["check", "--package", "policy-agent"]),
    )?;
    lint_bpf(workspace)?;
    let mut doc = workspace.cargo();
    doc.env("RUSTDOCFLAGS", "-D warnings")
        .args(["doc", "--no-deps", "--workspace"]);
    command::run(&mut doc)?;
    test::run(workspace, &test::Args::ALL)
}

fn lint_host(workspace: &Workspace) -> Result<()> {
    let arguments = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    command::run(workspace.cargo().args(arguments))
}

/// The same lints on the kernel's half, by the compiler that builds it.
fn lint_bpf(workspace: &Workspace) -> Result<()> {
    let toolchain = setup::ensure_bpf_toolchain(workspace)?;
    setup::ensure_bpf_clippy(&toolchain)?;
    let mut clippy = build_ebpf::cargo(workspace, &toolchain, "cargo-clippy", "clippy");
    command::run(clippy.args(["--bin", "policy-ebpf", "--", "-D", "warnings"]))
}
