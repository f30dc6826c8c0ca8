//! `test`: every test there is, on this kernel and on the others, and one total at the end.
//!
//! Invariant: whatever did not visibly pass counts as failed.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    build_ebpf, command,
    root::Root,
    setup::{self, Need},
    tally::Tally,
    test_vm,
    workspace::Workspace,
};

/// Run all tests: of every crate, in network namespaces (needs root), and on other kernels
#[derive(clap::Args)]
pub(crate) struct Args {}

/// The packages whose tests make network namespaces and load programs.
const NEED_ROOT: [&str; 6] = [
    "policy-agent",
    "policy-harness",
    "policy-suites",
    "policy-conformance",
    "policy-bench",
    "policy-demo",
];

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, _: &Args) -> Result<()> {
    setup::ensure(&[Need::Run, Need::TestVm])?;
    let root = Root::acquire("run the tests that make network namespaces and load BPF programs")?;
    build_ebpf::release(workspace)?;

    let mut total = Tally::default();
    for mut cargo in invocations(workspace, root) {
        total += cargo_test(&mut cargo)?;
    }
    total += test_vm::all(workspace).unwrap_or_else(|error| {
        println!("kernels: FAILED: {error:#}");
        Tally {
            passed: 0,
            failed: 1,
        }
    });
    println!("{total}");
    ensure!(total.failed == 0, "not all tests passed");
    Ok(())
}

/// Root runs all at once. Otherwise only the packages that must are run by sudo, and nothing is
/// *built* by it.
fn invocations(workspace: &Workspace, root: Root) -> Vec<Command> {
    let test = |selection: &[&str]| {
        let mut cargo = workspace.cargo();
        cargo.args(["test", "--no-fail-fast"]).args(selection);
        cargo
    };
    match root {
        Root::Already => vec![test(&["--workspace"])],
        Root::Sudo => {
            // `cfg(all())` holds for every target.
            let runner = "target.'cfg(all())'.runner=['sudo', '-E', '--']";
            let others = NEED_ROOT.iter().flat_map(|package| ["--exclude", package]);
            let these = NEED_ROOT.iter().flat_map(|package| ["--package", package]);
            vec![
                test(
                    &["--workspace"]
                        .into_iter()
                        .chain(others)
                        .collect::<Vec<_>>(),
                ),
                test(
                    &["--config", runner]
                        .into_iter()
                        .chain(these)
                        .collect::<Vec<_>>(),
                ),
            ]
        }
    }
}

/// Runs `cargo test`, shows its output, and counts its results.
fn cargo_test(cargo: &mut Command) -> Result<Tally> {
    command::announce(cargo);
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo test")?;
    let stdout = child
        .stdout
        .take()
        .context("cargo's output was not piped")?;
    let mut tally = Tally::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("reading cargo's output")?;
        println!("{line}");
        if let Some(results) = Tally::of_line(&line) {
            tally += results;
        }
    }
    let status = child.wait().context("waiting for cargo test")?;
    if !status.success() && tally.failed == 0 {
        println!(
            "cargo test: {status}: a test does not compile or its process died; counted as one failure"
        );
        tally.failed = 1;
    }
    Ok(tally)
}
