//! `policy-agent revision`: what a directory of manifests says now, and whether that is in force.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    agent,
    datapath::{DEFAULT_PIN_PATH, PinDir},
    source::manifests::revision_of,
};

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
    /// The pin directory of the agent
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_PATH)]
    pin_path: PathBuf,
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let pins = PinDir::new(&arguments.pin_path);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let in_force = runtime.block_on(async {
        loop {
            let snapshot = agent::query(&pins).await?;
            let sources = snapshot.map(|snapshot| snapshot.sources);
            let mut revisions = sources
                .into_iter()
                .flatten()
                .filter_map(|source| source.revision);
            if revisions.any(|in_force| in_force == revision.as_str()) {
                return anyhow::Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(ASK).await;
        }
    })?;
    if in_force {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(io::stderr(), "not in force after {seconds} s")?;
    Ok(ExitCode::FAILURE)
}
