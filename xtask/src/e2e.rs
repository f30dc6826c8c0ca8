//! `e2e`: upstream's tests.

use anyhow::Result;

use crate::{cluster, image, workspace::Workspace};

/// Run upstream's tests of NetworkPolicy on a real cluster of two nodes with the agent as it is shipped, some
/// fifteen minutes (needs root); fails when one fails that needs no Services
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only tests whose name has this, a regular expression
    filter: Option<String>,
}

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: Args) -> Result<()> {
    let image = image::archive(workspace, image::NAME)?;
    let mut words = ["e2e", "--agent"].map(str::to_owned).to_vec();
    words.push(image.display().to_string());
    words.extend(args.filter);
    cluster::run_as_root(workspace, &words)
}
