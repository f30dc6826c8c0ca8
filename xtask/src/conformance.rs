//! `conformance`: runs case files against the kernel programs.

use anyhow::Result;

use crate::{
    launch::{self, Profile, Program},
    workspace::Workspace,
};

/// Check every verdict of the case files in DIR… in the kernel; exits non-zero on a wrong one
/// (needs root)
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directories of case files
    #[arg(required = true, value_name = "DIR")]
    directories: Vec<String>,
    /// Use real connections between network namespaces instead of test runs of the programs
    #[arg(long)]
    wire: bool,
    /// Only cases whose name contains this
    #[arg(long, value_name = "S")]
    filter: Option<String>,
    /// Stop at the first case that fails
    #[arg(long)]
    fail_fast: bool,
    /// Pass over cases that need kinds which are not supported, instead of failing
    #[arg(long)]
    allow_unsupported: bool,
}

const PROGRAM: Program = ("policy-conformance", "conformance");

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: Args) -> Result<()> {
    let mut passed = args.directories;
    for (wanted, flag) in [
        (args.wire, "--wire"),
        (args.fail_fast, "--fail-fast"),
        (args.allow_unsupported, "--allow-unsupported"),
    ] {
        if wanted {
            passed.push(flag.to_owned());
        }
    }
    if let Some(filter) = args.filter {
        passed.extend(["--filter".to_owned(), filter]);
    }
    launch::run(workspace, &[PROGRAM], Profile::Dev, &passed)
}
