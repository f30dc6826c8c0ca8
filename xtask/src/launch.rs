//! Building a program of the `tests` crate and running it as root on the fresh eBPF object: what
//! the demo and the conformance runner share.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{
    build_ebpf, command,
    root::Root,
    setup::{self, Need},
    workspace::Workspace,
};

/// How the host programs are compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

/// Sets the machine up, builds the object, the agent and `programs`, then runs the first of them as
/// root with `args`.
pub(crate) fn run(
    workspace: &Workspace,
    programs: &[&str],
    profile: Profile,
    args: &[String],
) -> Result<()> {
    setup::ensure(&[Need::Run])?;
    let root = Root::acquire("make network namespaces and load BPF programs")?;
    build_ebpf::release(workspace)?;
    let directory = build(workspace, programs, profile)?;
    let first = programs.first().context("no program")?;
    command::run(root.command(directory.join(first)).args(args))
}

/// The directory in which the programs are then.
fn build(workspace: &Workspace, programs: &[&str], profile: Profile) -> Result<PathBuf> {
    let mut cargo = workspace.cargo();
    cargo
        .args([
            "build",
            "--package",
            "policy-agent",
            "--bin",
            "policy-agent",
        ])
        .args(["--package", "policy-tests"])
        .args(programs.iter().flat_map(|program| ["--bin", program]));
    let directory = match profile {
        Profile::Dev => "debug",
        Profile::Release => {
            cargo.arg("--release");
            "release"
        }
    };
    command::run(&mut cargo)?;
    Ok(workspace.target.join(directory))
}
