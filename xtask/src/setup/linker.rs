//! bpf-linker: turns the compiler's bitcode into one BPF object with BTF. Built under the target
//! directory, unless the very version is on PATH.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::packages::{self, Need};
use crate::{command, workspace::Workspace};

/// The version that the object is linked with.
const VERSION: &str = "0.13.0";

/// The variable by which the `llvm-sys` crate finds LLVM 22; a user may set it too.
const LLVM_SYS_PREFIX: &str = "LLVM_SYS_221_PREFIX";

/// Where LLVM 22 is installed.
pub(super) fn llvm_prefix() -> PathBuf {
    env::var_os(LLVM_SYS_PREFIX).map_or_else(|| PathBuf::from("/usr/lib/llvm-22"), PathBuf::from)
}

/// Makes sure that the pinned bpf-linker is there and returns its path.
///
/// # Errors
/// It is not there and cannot be built: LLVM 22 is missing and cannot be installed here, or the
/// build fails.
pub(super) fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    let tools = workspace.tools();
    let linker = tools.join("bin/bpf-linker");
    if is_pinned(&linker) {
        return Ok(linker);
    }
    if let Some(linker) = command::find("bpf-linker").filter(|found| is_pinned(found)) {
        return Ok(linker);
    }
    eprintln!(
        "missing: bpf-linker {VERSION} (links the eBPF object); building it under {}",
        tools.display()
    );
    packages::ensure(&[Need::BuildLinker]).with_context(|| {
        format!("installing LLVM 22 to build bpf-linker {VERSION}, which is not on PATH either")
    })?;
    let build = tools.join("build");
    let mut install = workspace.cargo();
    command::without_host_settings(&mut install)
        // LLVM_SYS_221_PREFIX is for the bindings, LLVM_PREFIX for bpf-linker's own build script.
        .env(LLVM_SYS_PREFIX, llvm_prefix())
        .env("LLVM_PREFIX", llvm_prefix())
        .env("CARGO_TARGET_DIR", &build)
        // Its work is done by LLVM, which is not compiled here: optimising the rest takes longer
        // than it will ever save.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .args([
            "install",
            "bpf-linker",
            "--version",
            VERSION,
            "--locked",
            "--force",
            "--debug",
        ])
        .args(["--no-default-features", "--features", "llvm-22"])
        .arg("--root")
        .arg(&tools);
    command::run(&mut install)?;
    fs::remove_dir_all(&build).context("removing what bpf-linker was built in")?;
    command::expect_file(&linker, "`cargo install bpf-linker`")?;
    Ok(linker)
}

/// Does this file run and say that it is the pinned version?
fn is_pinned(linker: &Path) -> bool {
    linker.is_file()
        && command::read(std::process::Command::new(linker).arg("--version"))
            .is_ok_and(|version| version.split_whitespace().any(|word| word == VERSION))
}
