//! `test-vm`: the eBPF object on the oldest supported kernel, on a recent one and between, each
//! booted in a virtual machine with nothing but a test program and its libraries.
//!
//! Owns the list of kernels and what counts as passed. Downloads and virtual machines stay under
//! the target directory; nothing is installed.

mod apt;
mod initramfs;
mod kernel;
mod libraries;
mod modules;
mod progress;
mod qemu;

use std::{env, fs, path::Path, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};

use self::{kernel::Kernel, libraries::Packed, qemu::Qemu};
use crate::{
    build_ebpf, command,
    setup::{self, Need},
    tally::Tally,
    workspace::Workspace,
};

/// Load the eBPF object on other kernels (5.10, 6.1, 6.12, 7.2), each in a virtual machine
///
/// Kernels are Debian's, fetched once from the machine's own Debian mirror. Needs no root.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this kernel of the matrix; may be given several times
    #[arg(long, value_name = "V", value_parser = MATRIX.map(|row| row.release))]
    kernel: Vec<String>,
    /// The Debian mirror, where apt's configuration names none
    #[arg(long, value_name = "URI")]
    mirror: Option<String>,
}

/// One kernel of the matrix.
#[derive(Clone, Copy)]
struct Row {
    release: &'static str,
    /// The Debian suite that has it.
    suite: &'static str,
}

/// The oldest supported kernel, the last before and the first after TCX (6.6), and the newest.
const MATRIX: [Row; 4] = [
    Row {
        release: "5.10",
        suite: "bullseye",
    },
    Row {
        release: "6.1",
        suite: "bookworm",
    },
    Row {
        release: "6.12",
        suite: "trixie",
    },
    Row {
        release: "7.2",
        suite: "sid",
    },
];

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    build_ebpf::release(workspace)?;
    build_test_program(workspace)?;
    let tally = matrix(workspace, args)?;
    println!("kernels: {tally}");
    ensure!(tally.failed == 0, "some kernels failed");
    Ok(())
}

/// Runs the whole matrix on an object that is built already, and so is the test program: its own
/// tests are built with it.
pub(crate) fn all(workspace: &Workspace) -> Result<Tally> {
    matrix(
        workspace,
        &Args {
            kernel: Vec::new(),
            mirror: None,
        },
    )
}

fn matrix(workspace: &Workspace, args: &Args) -> Result<Tally> {
    if env::consts::ARCH != "x86_64" {
        bail!("the kernel matrix is for x86_64: its kernels and qemu command line are");
    }
    setup::ensure(&[Need::TestVm])?;
    let dir = workspace.target.join("vm");
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let program = Packed::of(&workspace.target.join("debug/vmtest"), &dir.join("vmtest"))?;
    let qemu = Qemu::find_or_unpack(&dir.join("qemu"))?;
    let mut tally = Tally::default();
    for row in MATRIX {
        if !args.kernel.is_empty() && !args.kernel.iter().any(|wanted| wanted == row.release) {
            continue;
        }
        let begun = Instant::now();
        let outcome = test(
            &dir.join(row.release),
            row,
            args.mirror.as_deref(),
            &qemu,
            &program,
            workspace,
        );
        let seconds = begun.elapsed().as_secs_f32();
        match outcome {
            Ok(summary) => {
                tally.passed += 1;
                println!("kernel {}: ok, {seconds:.1} s: {summary}", row.release);
            }
            Err(error) => {
                tally.failed += 1;
                println!("kernel {}: FAILED, {seconds:.1} s: {error:#}", row.release);
            }
        }
    }
    Ok(tally)
}

/// Fetches the kernel, packs the initramfs, boots, and reads the result: a line for people.
fn test(
    dir: &Path,
    row: Row,
    mirror: Option<&str>,
    qemu: &Qemu,
    program: &Packed,
    workspace: &Workspace,
) -> Result<String> {
    let kernel = Kernel::fetch(dir, row.suite, mirror)
        .with_context(|| format!("fetching the kernel of Debian {}", row.suite))?;
    let initramfs = dir.join("initramfs.cpio");
    initramfs::pack(&initramfs, &kernel, program, &workspace.ebpf_object())?;
    let log = qemu.boot(&kernel.image, &initramfs, &dir.join("console.log"))?;
    let summary = judge(&log)?;
    Ok(format!("{} {summary}", kernel.version))
}

/// Passed only if the test program said so: qemu's exit status is 0 after a panic too.
fn judge(log: &str) -> Result<String> {
    let lines = || log.lines().map(str::trim_end);
    let tail = || {
        lines()
            .rev()
            .take(40)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
            .join("\n")
    };
    if let Some(trouble) = lines().find(|line| {
        ["Oops", "BUG:", "Kernel panic"]
            .iter()
            .any(|word| line.contains(word))
    }) {
        bail!("the kernel is in trouble: {trouble}\n{}", tail());
    }
    match lines().find_map(|line| line.strip_prefix(initramfs::EXIT_STATUS)) {
        Some("0") => {}
        Some(status) => bail!("the test program ended with status {status}\n{}", tail()),
        None => bail!("no result, and no check passed for long\n{}", tail()),
    }
    let summary = lines().find_map(|line| line.strip_prefix("@@SUMMARY "));
    let programs = lines().filter_map(|line| line.strip_prefix("@@PROGRAM "));
    let mut text = summary.unwrap_or("no summary").to_owned();
    for program in programs {
        text.push_str("\n    ");
        text.push_str(program);
    }
    Ok(text)
}

/// Builds the program that runs in the machines.
fn build_test_program(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--package", "policy-vmtest", "--bin", "vmtest"]);
    command::run(&mut cargo)
}

#[cfg(test)]
mod tests {
    use super::judge;

    #[test]
    fn a_log_passes_only_with_status_zero_and_no_kernel_trouble() {
        assert_eq!(
            judge("boot\r\n@@SUMMARY all well\r\n@@RC 0\r\n").unwrap(),
            "all well"
        );
        assert_eq!(
            judge("@@PROGRAM to_pod: small\r\n@@SUMMARY all well\r\n@@RC 0\r\n").unwrap(),
            "all well\n    to_pod: small"
        );
        assert!(judge("boot\n@@RC 1\n").is_err());
        assert!(judge("boot\n").is_err());
        assert!(judge("Kernel panic - not syncing\n@@RC 0\n").is_err());
    }
}
