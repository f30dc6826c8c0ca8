//! Another revision of the project, built whole beside this one.
//!
//! Owns `baseline` in the target directory: for each revision a git worktree of its own and, below
//! it, its target directory. Must not know how that revision is laid out: it is asked for programs
//! by their names.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{command, workspace::Workspace};

/// The bench, the agents that it may start.
const PROGRAMS: [&str; 3] = ["bench", "policy-test-agent", "policy-agent"];

/// Builds a revision and returns the path of its bench program.
pub(super) fn bench_program(workspace: &Workspace, revision: &str) -> Result<PathBuf> {
    let commit = command::read(git(workspace).args([
        "rev-parse",
        "--verify",
        "--end-of-options",
        &format!("{revision}^{{commit}}"),
    ]))
    .with_context(|| format!("{revision} is no revision of this repository"))?;
    let commit = commit.trim_end();
    let tree = workspace.target.join("baseline").join(commit);
    if !tree.join("Cargo.toml").is_file() {
        check_out(workspace, commit, &tree)?;
    }
    let target = tree.join("target");
    command::run(cargo(workspace, &tree, &target).args(["xtask", "build-ebpf"]))?;
    let mut build = cargo(workspace, &tree, &target);
    build
        .args(["build", "--release", "--workspace"])
        .args(PROGRAMS.iter().flat_map(|program| ["--bin", program]));
    command::run(&mut build)?;
    let program = target.join("release/bench");
    command::expect_file(&program, "building the baseline")?;
    Ok(program)
}

/// A worktree of a commit; one that was lost by other means than git is forgotten first.
fn check_out(workspace: &Workspace, commit: &str, tree: &Path) -> Result<()> {
    if tree.exists() {
        fs::remove_dir_all(tree).with_context(|| format!("clearing {}", tree.display()))?;
    }
    command::run(git(workspace).args(["worktree", "prune"]))?;
    command::run(
        git(workspace)
            .args(["worktree", "add", "--detach", "--quiet"])
            .arg(tree)
            .arg(commit),
    )
}

fn git(workspace: &Workspace) -> Command {
    let mut git = Command::new("git");
    git.arg("-C").arg(&workspace.root);
    git
}

/// Cargo in that tree, as a user would call it there. It finds the linker that is built here, so
/// that it need not build one.
fn cargo(workspace: &Workspace, tree: &Path, target: &Path) -> Command {
    let tools = workspace.tools().join("bin");
    let path = env::var_os("PATH").unwrap_or_default();
    let mut cargo = workspace.cargo();
    cargo
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", target)
        .env_remove("CARGO_BUILD_TARGET_DIR");
    // Cannot fail: neither part was made here with a separator in it.
    if let Ok(path) = env::join_paths(std::iter::once(tools).chain(env::split_paths(&path))) {
        cargo.env("PATH", path);
    }
    cargo
}
