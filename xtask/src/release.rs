//! `release`: everything that makes a commit a release but the commit itself.
//!
//! Owns the order of the checks. Invariant: what is kept is what the agent of this very tree embeds; a
//! rehearsal leaves the tree as it was.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    build_ebpf, command,
    root::Root,
    setup::{self, Need},
    workspace::Workspace,
};

/// This version, which all crates have.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What stands behind the version of an entry that has no date yet.
const UNRELEASED: &str = "unreleased";

/// Make this tree a release: date the changelog's entry, keep the object, run the tests of upgrades
///
/// The tree must be clean. At the end it differs in two files; what is still to be done is printed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Do all of it, then take it back
    #[arg(long)]
    rehearse: bool,
}

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut git = git(workspace);
    let changed = command::read(git.args(["status", "--porcelain"]))?;
    ensure!(changed.is_empty(), "the tree is not clean:\n{changed}");
    setup::ensure(&[Need::Run])?;
    let root = Root::acquire("load the programs of this release and of earlier ones")?;
    build_ebpf::release(workspace)?;

    let kept = Kept::of(workspace);
    let result = kept.write(workspace).and_then(|()| {
        test(workspace, root, &["--package", "policy-repository"])?;
        let upgrades = ["--package", "policy-agent", "--test", "upgrade"];
        test(workspace, root, &upgrades)
    });
    if args.rehearse || result.is_err() {
        kept.take_back()?;
    }
    result?;
    if args.rehearse {
        println!("{VERSION} can be released; nothing was changed");
    } else {
        println!(
            "What is left:\n\
             \x20 git add --all && git commit --message 'release: {VERSION}'\n\
             \x20 .ci/run\n\
             \x20 git tag --annotate v{VERSION} --message {VERSION}"
        );
    }
    Ok(())
}

/// The two files that make a tree a release.
struct Kept {
    changelog: PathBuf,
    object: PathBuf,
}

impl Kept {
    fn of(workspace: &Workspace) -> Self {
        let object = format!("policy-agent/tests/releases/{VERSION}.o.gz");
        Self {
            changelog: workspace.root.join("CHANGELOG.md"),
            object: workspace.root.join(object),
        }
    }

    /// Writes both: the object first, since the date asks for it.
    fn write(&self, workspace: &Workspace) -> Result<()> {
        ensure!(!self.object.exists(), "{VERSION} is kept already");
        let stripped = workspace.target.join("ebpf/released");
        let mut strip = Command::new("llvm-strip-22");
        strip.arg("-g").arg("-o").arg(&stripped);
        command::run(strip.arg(workspace.ebpf_object()))?;
        let zipped = compress(&stripped)?;
        fs::write(&self.object, &zipped)
            .with_context(|| format!("writing {}", self.object.display()))?;
        let today = command::read(Command::new("date").args(["-u", "+%F"]))?;
        let text = fs::read_to_string(&self.changelog)?;
        fs::write(&self.changelog, dated(&text, VERSION, today.trim())?)?;
        println!("{}: {} bytes", self.object.display(), zipped.len());
        Ok(())
    }

    fn take_back(&self) -> Result<()> {
        let text = fs::read_to_string(&self.changelog)?;
        let heading = format!("## [{VERSION}] – ");
        let line = text.lines().find(|line| line.starts_with(&heading));
        let line = line.context("CHANGELOG.md has no entry of this version")?;
        let undated = text.replacen(line, &format!("{heading}{UNRELEASED}"), 1);
        fs::write(&self.changelog, undated)?;
        if self.object.exists() {
            fs::remove_file(&self.object)?;
        }
        Ok(())
    }
}

/// Without names and times: the same object gives the same file.
fn compress(file: &Path) -> Result<Vec<u8>> {
    let mut gzip = Command::new("gzip");
    let output = gzip.arg("-9nc").arg(file).output().context("gzip")?;
    ensure!(output.status.success(), "gzip: {}", output.status);
    Ok(output.stdout)
}

/// The changelog with a date for the entry of a version.
fn dated(changelog: &str, version: &str, date: &str) -> Result<String> {
    let open = format!("## [{version}] – {UNRELEASED}");
    ensure!(
        changelog.lines().any(|line| line == open),
        "CHANGELOG.md has no line `{open}`"
    );
    Ok(changelog.replacen(&open, &format!("## [{version}] – {date}"), 1))
}

fn git(workspace: &Workspace) -> Command {
    let mut git = Command::new("git");
    git.current_dir(&workspace.root);
    git
}

/// Builds tests as who is there, and runs them as root.
fn test(workspace: &Workspace, root: Root, selection: &[&str]) -> Result<()> {
    let mut cargo = workspace.cargo();
    command::run(cargo.args(["test", "--no-run"]).args(selection))?;
    let mut cargo = workspace.cargo();
    if root == Root::Sudo {
        cargo.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", "sudo -E --");
    }
    command::run(cargo.arg("test").args(selection))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_without_a_date_gets_one_and_no_other_does() {
        let text = "# Changelog\n\n## [0.2.0] – unreleased\n\n## [0.1.0] – 2026-11-23\n";
        let released = dated(text, "0.2.0", "2026-12-01").unwrap();
        assert!(released.contains("## [0.2.0] – 2026-12-01\n"));
        assert!(released.contains("## [0.1.0] – 2026-11-23\n"));
        assert!(dated(&released, "0.2.0", "2026-12-02").is_err());
        assert!(dated(text, "0.3.0", "2026-12-01").is_err());
    }
}
