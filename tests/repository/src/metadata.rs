//! `cargo metadata`: all packages, those of the workspace marked.

use std::{collections::BTreeSet, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::root;

/// All packages that the lock file has for this platform.
#[derive(Deserialize)]
pub struct Metadata {
    /// Those of the workspace and all that they need.
    pub packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
}

/// A package.
#[derive(Deserialize)]
pub struct Package {
    id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// An SPDX expression, in old packages with a slash for "or".
    pub license: Option<String>,
    /// Where it comes from; `None` for those of the workspace.
    pub source: Option<String>,
    /// The oldest compiler that is to build it.
    pub rust_version: Option<String>,
    /// What it asks for.
    pub dependencies: Vec<Dependency>,
    /// What is built of it.
    pub targets: Vec<Target>,
    /// The path of its `Cargo.toml`.
    pub manifest_path: PathBuf,
}

/// A library, a program, a test or a build script.
#[derive(Deserialize)]
pub struct Target {
    /// The path of its first source.
    pub src_path: PathBuf,
}

/// A dependency as a manifest asks for it.
#[derive(Deserialize)]
pub struct Dependency {
    /// The package's name.
    pub name: String,
    /// The versions.
    pub req: String,
    /// `dev`, `build`, or `None` for an ordinary one.
    pub kind: Option<String>,
    /// The directory, of those in the workspace.
    pub path: Option<PathBuf>,
}

impl Metadata {
    /// Asks cargo, which asks nobody.
    ///
    /// # Errors
    /// Cargo cannot be started, or misses a package.
    pub fn read() -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--offline", "--locked"])
            .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
            .current_dir(root())
            .output()
            .context("starting cargo")?;
        ensure!(
            output.status.success(),
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).context("reading cargo's metadata")
    }

    /// The packages of the workspace.
    pub fn own(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| self.workspace_members.contains(&package.id))
    }
}
