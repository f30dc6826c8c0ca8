//! `policy-agent flows` and `policy-agent policies`.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use serde::Serialize;

use super::{OutputFormat, place::Place};
use crate::{
    control::{self, Flows, Request},
    telemetry::tables::{FlowShown, PolicyShown},
    text::{Printable, printable_json},
};

/// Shows the connections of this node's isolated pods: who opened them, where they stand, what was said of them
///
/// Asks the running agent. Exits with 2 when no agent answers.
#[derive(Debug, clap::Args)]
pub(super) struct FlowsArgs {
    /// Only those of this pod: NAMESPACE/POD
    #[arg(long, value_name = "POD")]
    pod: Option<String>,
    /// How to print them; json: one object per line
    #[arg(long, short, value_enum, default_value_t)]
    output: OutputFormat,
    #[command(flatten)]
    place: Place,
}

/// Shows the policies, and which pods of this node each isolates
///
/// Asks the running agent. Exits with 2 when no agent answers.
#[derive(Debug, clap::Args)]
pub(super) struct PoliciesArgs {
    /// How to print them; json: one object per line
    #[arg(long, short, value_enum, default_value_t)]
    output: OutputFormat,
    #[command(flatten)]
    place: Place,
}

/// Exit code: no agent answers.
const NO_AGENT: u8 = 2;

pub(super) fn flows(arguments: &FlowsArgs) -> anyhow::Result<ExitCode> {
    let request = Request::Flows(Flows {
        pod: arguments.pod.clone(),
    });
    show::<FlowShown>(&arguments.place, &request, arguments.output)
}

pub(super) fn policies(arguments: &PoliciesArgs) -> anyhow::Result<ExitCode> {
    show::<PolicyShown>(&arguments.place, &Request::Policies, arguments.output)
}

/// Prints what comes in lines of many.
fn show<T>(place: &Place, request: &Request, output: OutputFormat) -> anyhow::Result<ExitCode>
where
    T: serde::de::DeserializeOwned + Serialize + ToString,
{
    let answers = control::follow::<Vec<T>>(&place.pins().socket(), request);
    let Some(answers) = answers.context("asking the agent")? else {
        writeln!(io::stderr(), "no agent runs")?;
        return Ok(ExitCode::from(NO_AGENT));
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    for answer in answers {
        for one in answer? {
            match output {
                OutputFormat::Text => {
                    let text = one.to_string();
                    for line in text.lines() {
                        writeln!(out, "{}", Printable(line))?;
                    }
                }
                OutputFormat::Json => {
                    let json = serde_json::to_string(&one)?;
                    writeln!(out, "{}", printable_json(&json))?;
                }
            }
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
