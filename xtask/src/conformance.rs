//! `conformance`: runs case files against the kernel programs.

use anyhow::Result;

use crate::{
    launch::{self, Profile},
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
}

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: Args) -> Result<()> {
    let mut passed = args.directories;
    if args.wire {
        passed.push("--wire".to_owned());
    }
    if let Some(filter) = args.filter {
        passed.extend(["--filter".to_owned(), filter]);
    }
    launch::run(workspace, "conformance", Profile::Dev, &passed)
}
