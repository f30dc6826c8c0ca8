//! `image`: the agent as a static program, in an OCI archive.

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{
    build_ebpf, command,
    setup::{self, Need},
    workspace::Workspace,
};

/// The C library is linked in; the compiler of the host has it.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What the manifests of `deploy/kustomize` call it.
pub(crate) const NAME: &str = concat!("policy-agent:", env!("CARGO_PKG_VERSION"));

/// Build the agent as a static program and an OCI archive with nothing else in it, target/image/policy-agent.tar,
/// without a container engine or a registry; prints its size and digest
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The image's name and tag
    #[arg(long, default_value = NAME)]
    name: String,
    /// Only the program, target/image/policy-agent, for a container engine
    #[arg(long)]
    program_only: bool,
}

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if args.program_only {
        println!("{}", program(workspace)?.display());
        return Ok(());
    }
    archive(workspace, &args.name).map(drop)
}

/// Makes the archive of a name and tag; its path.
pub(crate) fn archive(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let program = program(workspace)?;
    let archive = program.with_extension("tar");
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--quiet", "--package", "policy-image", "--"]);
    cargo.args([&program, &archive]).args(["--name", name]);
    command::run(&mut cargo)?;
    Ok(archive)
}

/// Builds the program; its path.
fn program(workspace: &Workspace) -> Result<PathBuf> {
    setup::ensure(&[Need::Image])?;
    build_ebpf::release(workspace)?;
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    flags.extend(workspace.without_own_paths());
    let mut cargo = workspace.cargo();
    command::without_host_settings(&mut cargo);
    cargo
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .args(["build", "--profile", "shipped", "--package", "policy-agent"])
        .args(["--target", TARGET]);
    command::run(&mut cargo)?;
    let built = workspace.target.join(TARGET).join("shipped/policy-agent");
    let program = workspace.target.join("image/policy-agent");
    let directory = program.parent().context("a file is in a directory")?;
    fs::create_dir_all(directory)?;
    fs::copy(&built, &program).with_context(|| format!("copying {}", built.display()))?;
    Ok(program)
}

impl Workspace {
    /// Arguments of the compiler that keep paths of this machine out of what is built, so that every
    /// clone builds the same.
    pub(crate) fn without_own_paths(&self) -> Vec<String> {
        let home = |variable: &str, directory: &str| {
            let named = env::var_os(variable).map(PathBuf::from);
            named.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(directory)))
        };
        let mapped = [
            (home("CARGO_HOME", ".cargo"), "/cargo"),
            (home("RUSTUP_HOME", ".rustup"), "/rustup"),
            // The last one that fits counts.
            (Some(self.root.clone()), "/src"),
        ];
        let flags = mapped.into_iter().filter_map(|(from, to)| {
            let from = from?;
            Some(format!("--remap-path-prefix={}={to}", from.display()))
        });
        flags.collect()
    }
}
