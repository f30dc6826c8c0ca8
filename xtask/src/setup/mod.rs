//! `setup`: makes this machine able to build and test. Every task that needs something calls
//! [`ensure`] first.
//!
//! Invariant: idempotent, and quick when nothing is missing (files are looked at, no package
//! manager is asked).

mod compiler;
mod linker;
mod packages;

use std::path::PathBuf;

use anyhow::Result;

pub(crate) use self::{compiler::Compiler, packages::Need};
use crate::workspace::Workspace;

/// Install what building, the demo and the tests need, saying what and why; quick when all is there
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which compiler builds for the BPF target
    #[arg(long, value_enum, default_value = "auto")]
    compiler: compiler::Way,
}

/// What builds the eBPF object.
pub(crate) struct BpfToolchain {
    /// A compiler that can build `core` for the BPF target.
    pub(crate) compiler: Compiler,
    /// The path of bpf-linker.
    pub(crate) linker: PathBuf,
}

/// Runs the task: everything that any task needs.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    packages::ensure(&[Need::Run, Need::Bench, Need::TestVm])?;
    let toolchain = BpfToolchain {
        compiler: compiler::ensure(workspace, args.compiler)?,
        linker: linker::ensure(workspace)?,
    };
    compiler::ensure_clippy(&toolchain.compiler)?;
    eprintln!("BPF compiler: {}", toolchain.compiler);
    eprintln!("BPF linker: {}", toolchain.linker.display());
    Ok(())
}

/// Makes sure that the packages for `needs` are there.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    packages::ensure(needs)
}

/// Makes sure that the eBPF object can be built.
pub(crate) fn ensure_bpf_toolchain(workspace: &Workspace) -> Result<BpfToolchain> {
    Ok(BpfToolchain {
        compiler: compiler::ensure(workspace, compiler::Way::Auto)?,
        linker: linker::ensure(workspace)?,
    })
}

/// Makes sure that clippy can run for the BPF target.
pub(crate) fn ensure_bpf_clippy(toolchain: &BpfToolchain) -> Result<()> {
    compiler::ensure_clippy(&toolchain.compiler)
}

/// Makes sure that the host's cargo has its formatter and linter.
pub(crate) fn ensure_host_lints(workspace: &Workspace) -> Result<()> {
    compiler::ensure_host_lints(workspace)
}
