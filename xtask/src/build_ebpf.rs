//! `build-ebpf`: builds the eBPF object and puts it where the agent's build takes it from.
//!
//! Owns the compiler flags of the BPF target. Invariant: the object's file changes only when its
//! content does, so that the agent is not built again for nothing.

use std::{env, fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    command,
    setup::{self, BpfToolchain},
    workspace::Workspace,
};

/// Build the eBPF object (release by default) to ebpf/policy-ebpf in the target directory
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build with overflow checks and debug assertions
    #[arg(long)]
    debug: bool,
}

/// The BPF target: little endian like every host that is supported.
const TARGET: &str = "bpfel-unknown-none";

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let toolchain = setup::ensure_bpf_toolchain(workspace)?;
    build(workspace, &toolchain, args.debug)
}

/// Builds the release object: what every task does that runs the programs.
pub(crate) fn release(workspace: &Workspace) -> Result<()> {
    run(workspace, &Args { debug: false })
}

fn build(workspace: &Workspace, toolchain: &BpfToolchain, debug: bool) -> Result<()> {
    let mut cargo = cargo(workspace, toolchain, "cargo", "build");
    cargo.args(["--bin", "policy-ebpf"]);
    let profile = if debug {
        // The verifier accepts no unoptimised code.
        cargo
            .env("CARGO_PROFILE_DEV_OPT_LEVEL", "2")
            .env("CARGO_PROFILE_DEV_CODEGEN_UNITS", "1");
        "debug"
    } else {
        cargo.arg("--release");
        "release"
    };
    command::run(&mut cargo)?;
    let built = workspace
        .target
        .join("bpf-build")
        .join(TARGET)
        .join(profile)
        .join("policy-ebpf");
    put(&built, &workspace.ebpf_object())
}

/// A cargo subcommand on the eBPF binary for the BPF target. `program` is `cargo` or
/// `cargo-clippy`.
pub(crate) fn cargo(
    workspace: &Workspace,
    toolchain: &BpfToolchain,
    program: &str,
    subcommand: &str,
) -> Command {
    let mut flags = vec![
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
        format!("-Clinker={}", toolchain.linker.display()),
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
    ];
    flags.extend(workspace.without_own_paths());
    let mut cargo = toolchain.compiler.command(program);
    cargo
        .current_dir(&workspace.root)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        // Its own directory: the enclosing cargo may hold the lock of the usual one.
        .env("CARGO_TARGET_DIR", workspace.target.join("bpf-build"))
        .args([
            subcommand,
            "--package",
            "policy-ebpf",
            "--features",
            "kernel",
        ])
        .args(["--target", TARGET, "-Zbuild-std=core"]);
    cargo
}

/// Copies the object unless the copy would change nothing. A reader sees the old file or the new
/// one.
fn put(built: &Path, object: &Path) -> Result<()> {
    let content = fs::read(built).with_context(|| format!("reading {}", built.display()))?;
    if fs::read(object).is_ok_and(|present| present == content) {
        return Ok(());
    }
    let dir = object
        .parent()
        .context("the object's path has a directory")?;
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let fresh = object.with_extension("new");
    fs::write(&fresh, content).with_context(|| format!("writing {}", fresh.display()))?;
    fs::rename(&fresh, object).with_context(|| format!("writing {}", object.display()))
}
