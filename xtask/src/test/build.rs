//! Builds the test programs and finds out where they are.
//!
//! Must not know how they are run. Invariant: every program that cargo reports becomes a job.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::job::Job;
use crate::{command, root::Root, workspace::Workspace};

/// The packages whose tests need neither root nor a kernel that loads programs. Of the agent only
/// the library's own tests are of that kind.
const HOST: [&str; 6] = [
    "policy-common",
    "policy-core",
    "policy-ebpf",
    "policy-fuzz",
    "policy-repository",
    "xtask",
];

/// The packages whose tests make network namespaces and load programs.
const NEED_ROOT: [&str; 7] = [
    "policy-agent",
    "policy-harness",
    "policy-suites",
    "policy-conformance",
    "policy-bench",
    "policy-demo",
    "policy-vmtest",
];

/// Which test programs.
#[derive(Clone, Copy)]
pub(super) enum Selection {
    /// Those that need neither root nor a kernel.
    Host,
    /// All; those that need it become root so.
    All(Root),
    /// Those that run the whole agent.
    Suites(Root),
}

/// Builds the test programs, nothing of it as root.
pub(super) fn test_programs(workspace: &Workspace, selection: Selection) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    match selection {
        Selection::Host => {
            let packages = HOST.iter().flat_map(|package| ["--package", package]);
            jobs.extend(build(workspace, &packages.collect::<Vec<_>>(), None)?);
            let library = ["--package", "policy-agent", "--lib"];
            jobs.extend(build(workspace, &library, None)?);
        }
        Selection::All(root) => jobs.extend(build(workspace, &["--workspace"], Some(root))?),
        Selection::Suites(root) => {
            let suites = ["--package", "policy-suites"];
            jobs.extend(build(workspace, &suites, Some(root))?);
        }
    }
    Ok(jobs)
}

/// The examples in the documentation; rustdoc builds and runs them.
pub(super) fn documentation(workspace: &Workspace) -> Job {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--doc", "--workspace", "--no-fail-fast", "--quiet"]);
    Job {
        name: "documentation".to_owned(),
        command: cargo,
    }
}

fn build(workspace: &Workspace, selection: &[&str], root: Option<Root>) -> Result<Vec<Job>> {
    let mut cargo = workspace.cargo();
    cargo
        .args(["test", "--no-run"])
        .args(selection)
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped());
    command::announce(&cargo);
    let mut child = cargo.spawn().context("starting cargo")?;
    let stdout = child.stdout.take().context("cargo's output was piped")?;
    let mut jobs = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("reading cargo's output")?;
        if let Some(program) = Program::of_message(&line) {
            jobs.push(program.job(root)?);
        }
    }
    let status = child.wait().context("waiting for cargo")?;
    ensure!(status.success(), "a test does not compile: {status}");
    Ok(jobs)
}

/// A test program, as cargo's message tells of it.
#[derive(Debug, PartialEq, Eq)]
struct Program<'a> {
    executable: &'a str,
    manifest: &'a str,
    /// The name of the crate or of the file under `tests`.
    target: &'a str,
    /// The kind of the target: `lib`, `bin` or `test`.
    kind: &'a str,
}

impl<'a> Program<'a> {
    /// The program of a message; `None` for messages of other things.
    ///
    /// Of each line five fields are wanted, whose values hold nothing that JSON would escape unless
    /// a path does; such a program would be lost, so its message ends the run ([`build`] fails when
    /// the job cannot be made).
    fn of_message(line: &'a str) -> Option<Self> {
        let is_test = line.contains(r#""reason":"compiler-artifact""#)
            && line.contains(r#""test":true},"features""#);
        if !is_test {
            return None;
        }
        let target = &line[line.find(r#""target":{"#)?..];
        Some(Self {
            executable: field(line, r#""executable":""#)?,
            manifest: field(line, r#""manifest_path":""#)?,
            target: field(target, r#""name":""#)?,
            kind: field(target, r#""kind":[""#)?,
        })
    }

    fn job(&self, root: Option<Root>) -> Result<Job> {
        let package = Path::new(self.manifest)
            .parent()
            .with_context(|| format!("{} is no manifest", self.manifest))?;
        let file = Path::new(self.executable);
        ensure!(file.is_file(), "{} is missing", self.executable);
        let name = package_name(package);
        let mut command = match root {
            Some(root) if NEED_ROOT.contains(&name.as_str()) => root.command(file),
            _ => Command::new(file),
        };
        // As cargo runs it.
        command
            .current_dir(package)
            .env("CARGO_MANIFEST_DIR", package);
        Ok(Job {
            name: format!("{name} {} ({})", self.target, self.kind),
            command,
        })
    }
}

/// The value of a string field that begins after `start`.
fn field<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    let from = text.find(start)? + start.len();
    text[from..].split('"').next()
}

/// A package by the directory of its manifest; packages are named after their directories, with
/// `policy-` in front of those that do not have it.
fn package_name(directory: &Path) -> String {
    let name = directory
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    if name == "xtask" || name.starts_with("policy-") {
        name
    } else {
        format!("policy-{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = r#"{"reason":"compiler-artifact","package_id":"path+file:///w/tests/suites#policy-suites@0.1.0","manifest_path":"/w/tests/suites/Cargo.toml","target":{"kind":["test"],"crate_types":["bin"],"name":"lifecycle","src_path":"/w/tests/suites/tests/lifecycle/main.rs","edition":"2024","doc":false,"doctest":false,"test":true},"profile":{"opt_level":"0","debuginfo":2,"debug_assertions":true,"overflow_checks":true,"test":true},"features":[],"filenames":["/w/target/debug/deps/lifecycle-1"],"executable":"/w/target/debug/deps/lifecycle-1","fresh":true}"#;

    #[test]
    fn a_message_of_cargo_names_a_test_program() {
        assert_eq!(
            Program::of_message(MESSAGE),
            Some(Program {
                executable: "/w/target/debug/deps/lifecycle-1",
                manifest: "/w/tests/suites/Cargo.toml",
                target: "lifecycle",
                kind: "test",
            })
        );
    }

    #[test]
    fn what_is_built_for_tests_but_is_none_is_no_test_program() {
        let library = MESSAGE.replace(r#""test":true},"features""#, r#""test":false},"features""#);
        assert_eq!(Program::of_message(&library), None);
        assert_eq!(Program::of_message(r#"{"reason":"build-finished"}"#), None);
    }

    #[test]
    fn a_package_is_named_after_its_directory() {
        for (directory, name) in [
            ("/w/policy-agent/core", "policy-core"),
            ("/w/tests/bench", "policy-bench"),
            ("/w/policy-ebpf", "policy-ebpf"),
            ("/w/xtask", "xtask"),
        ] {
            assert_eq!(package_name(Path::new(directory)), name);
        }
    }
}
