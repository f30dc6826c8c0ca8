//! `policy-agent observe`: what packets of this node's pods met.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;

use super::{OutputFormat, place::Place};
use crate::{
    ask::{PartyArgument, Verdict},
    control::{self, Observe, Request, Sight},
    text::{Printable, printable_json},
};

/// Shows which packets of this node's pods were dropped, why, and by which policies
///
/// Asks the running agent. With --follow also new flows of isolated pods that are allowed, unless --verdict
/// denied is given. The other side is named as it was when the packet came. Every drop that has a line
/// in the log is one here (run --drop-rate); `suppressed` counts those of the pod before it that have none.
///
/// Exits with 2 when no agent answers.
#[derive(Debug, clap::Args)]
pub(super) struct ObserveArgs {
    /// Only packets of this sender: NAMESPACE/POD, POD of the namespace default, an IP address, or `host`
    #[arg(long, value_name = "FROM")]
    from: Option<PartyArgument>,
    /// Only packets to this receiver, likewise
    #[arg(long, value_name = "TO")]
    to: Option<PartyArgument>,
    /// Only packets with this verdict
    #[arg(long, value_enum)]
    verdict: Option<Verdict>,
    /// Only packets with this reason, as the log says it
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Go on with those that come
    #[arg(long, short)]
    follow: bool,
    /// How many of those that came before are shown, of the 4096 that the agent remembers
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: usize,
    /// How to print them; json: one object per line
    #[arg(long, short, value_enum, default_value_t)]
    output: OutputFormat,
    #[command(flatten)]
    place: Place,
}

/// Exit code: no agent answers.
const NO_AGENT: u8 = 2;

pub(super) fn run(arguments: &ObserveArgs) -> anyhow::Result<ExitCode> {
    let text = |party: &Option<PartyArgument>| party.as_ref().map(ToString::to_string);
    let request = Request::Observe(Observe {
        from: text(&arguments.from),
        to: text(&arguments.to),
        verdict: arguments.verdict,
        reason: arguments.reason.clone(),
        last: arguments.last,
        follow: arguments.follow,
    });
    let sights = control::follow::<Sight>(&arguments.place.pins().socket(), &request);
    let Some(sights) = sights.context("observing")? else {
        writeln!(io::stderr(), "no agent runs")?;
        return Ok(ExitCode::from(NO_AGENT));
    };
    let mut out = io::stdout().lock();
    for sight in sights {
        match sight? {
            Sight::Packet(packet) => match arguments.output {
                OutputFormat::Text => writeln!(out, "{}", Printable(&packet))?,
                OutputFormat::Json => {
                    let json = serde_json::to_string(&packet)?;
                    writeln!(out, "{}", printable_json(&json))?;
                }
            },
            Sight::Lost(lost) => writeln!(
                io::stderr(),
                "{lost} packets were lost: they were not read in time"
            )?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
