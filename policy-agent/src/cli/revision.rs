//! `policy-agent revision`: what a directory of manifests says now, and whether that is in force.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::place::Place;
use crate::{agent, source::manifests::revision_of};

/// Prints the revision of a directory of manifests, and can wait until it is in force
///
/// `status` shows the revision that is enforced: the two are the same when everything that was
/// written is in force. Without this command, in the directory:
/// `ls | LC_ALL=C grep -E '^[^.].*\.(yaml|yml|json)$' | LC_ALL=C sort | xargs sha256sum | sha256sum`.
///
/// Exits with 1 when the revision does not come in force in time.
#[derive(Debug, clap::Args)]
pub(super) struct RevisionArgs {
    /// The directory of manifests
    #[arg(value_name = "DIR")]
    manifests: PathBuf,
    /// Wait for so many seconds until an agent has it in force
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    #[command(flatten)]
    place: Place,
}

/// How often the agent is asked.
const ASK: Duration = Duration::from_millis(100);

pub(super) fn run(arguments: &RevisionArgs) -> anyhow::Result<ExitCode> {
    let directory = &arguments.manifests;
    let revision = revision_of(directory).with_context(|| directory.display().to_string())?;
    writeln!(io::stdout(), "{revision}")?;
    let Some(seconds) = arguments.wait else {
        return Ok(ExitCode::SUCCESS);
    };
    let pins = arguments.place.pins();
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        let sources = agent::query(&pins)?.map(|snapshot| snapshot.sources);
        let sources = sources.into_iter().flatten();
        let mut revisions = sources.filter_map(|source| source.revision);
        if revisions.any(|in_force| in_force == revision.as_str()) {
            return Ok(ExitCode::SUCCESS);
        }
        if Instant::now() >= deadline {
            break;
        }
        thread::sleep(ASK);
    }
    writeln!(io::stderr(), "not in force after {seconds} s")?;
    Ok(ExitCode::FAILURE)
}
