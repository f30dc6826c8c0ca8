//! Building a program of a crate under `tests` and running it as root on the fresh eBPF object: what
//! the demo, the bench and the conformance runner share.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{
    build_ebpf, command,
    root::Root,
    setup::{self, Need},
    workspace::Workspace,
};

/// A program: its package and its name.
pub(crate) type Program = (&'static str, &'static str);

/// How the host programs are compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

/// Sets the machine up, builds the object and `programs`, then runs the first of them as
/// root with `args`.
pub(crate) fn run(
    workspace: &Workspace,
    programs: &[Program],
    profile: Profile,
    args: &[String],
) -> Result<()> {
    setup::ensure(&[Need::Run])?;
    let root = Root::acquire("make network namespaces and load BPF programs")?;
    build_ebpf::release(workspace)?;
    let directory = build(workspace, programs, profile)?;
    let (_, first) = programs.first().context("no program")?;
    command::run(root.command(directory.join(first)).args(args))
}

/// The directory in which the programs are then.
fn build(workspace: &Workspace, programs: &[Program], profile: Profile) -> Result<PathBuf> {
    let mut cargo = workspace.cargo();
    // What runs on this machine alone needs no client of an API server, which takes long to compile.
    cargo.args(["build", "--no-default-features"]).args(
        programs
            .iter()
            .flat_map(|(package, program)| ["--package", package, "--bin", program]),
    );
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
