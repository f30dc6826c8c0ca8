//! Where things are: the sources, the target directory, and cargo itself.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

/// The directories that every task works in; all paths are absolute.
pub(crate) struct Workspace {
    /// The workspace's root.
    pub(crate) root: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Finds the workspace of this very program and the target directory that cargo uses for it.
    pub(crate) fn locate() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask lies inside a workspace")?
            .to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR")
            .or_else(|| env::var_os("CARGO_BUILD_TARGET_DIR"))
        {
            Some(dir) => std::path::absolute(dir).context("resolving CARGO_TARGET_DIR")?,
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// The cargo that started this task, for host builds, in the workspace's root and target
    /// directory.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target);
        cargo
    }

    /// Where `cargo xtask build-ebpf` leaves the object that the agent embeds.
    pub(crate) fn ebpf_object(&self) -> PathBuf {
        self.target.join("ebpf/policy-ebpf")
    }

    /// Programs that belong to this checkout only: bpf-linker and the notes of `setup`.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }
}
