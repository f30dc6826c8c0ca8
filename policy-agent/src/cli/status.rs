//! `policy-agent status`: what is enforced, and what is not.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use policy_common::Endpoint;
use serde::Serialize;

use super::{OutputFormat, place::Place};
use crate::{
    agent::{self, EndpointStatus, Isolation, Snapshot},
    control::ControlError,
    datapath::{self, MapFill, OtherAgents, PinDir},
    text::{Printable, printable_json},
};

/// Shows what is enforced on this node, what is not, and how full the tables are
///
/// Asks the running agent; when there is none, shows what the kernel still enforces. Exits with 1
/// when nothing can be read. With --check, for probes: exits with 0 when everything that should be
/// enforced is, with 1 when not, and with 2 when no agent answers.
#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    place: Place,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    output: OutputFormat,
    /// Say only what is not enforced, and whether all is by the exit code
    #[arg(long)]
    check: bool,
}

/// Exit code of `--check`: no agent answers.
const NO_AGENT: u8 = 2;

/// Everything that is shown.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether an agent runs.
    running: bool,
    #[serde(flatten)]
    snapshot: Snapshot,
    /// How full the tables are.
    tables: Vec<MapFill>,
    /// What other agents have on this machine.
    other_agents: OtherAgents,
}

pub(super) fn run(arguments: &StatusArgs) -> anyhow::Result<ExitCode> {
    let pins = arguments.place.pins();
    let answer = agent::query(&pins);
    if arguments.check {
        return check(answer);
    }
    let answer = answer?;
    let report = Report {
        running: answer.is_some(),
        snapshot: match answer {
            Some(snapshot) => snapshot,
            None => from_pins(&pins)?,
        },
        tables: datapath::fill(&pins)?,
        other_agents: datapath::other_agents(Some(&pins)).unwrap_or_else(|error| {
            eprintln!("other agents cannot be looked for: {error}");
            OtherAgents::default()
        }),
    };
    let mut out = io::stdout().lock();
    match arguments.output {
        OutputFormat::Json => {
            let json = serde_json::to_string_pretty(&report).context("writing the report")?;
            writeln!(out, "{}", printable_json(&json))?;
        }
        OutputFormat::Text => write_text(&mut out, &report, &pins)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What the kernel says without the agent: no names of pods and policies.
fn from_pins(pins: &PinDir) -> anyhow::Result<Snapshot> {
    let endpoints = pins.endpoints()?.into_iter().map(|endpoint| {
        let isolation = |flag| Isolation {
            isolated: endpoint.has(flag) || endpoint.has(Endpoint::UNKNOWN),
            policies: Vec::new(),
        };
        EndpointStatus {
            interface: datapath::interface_name(endpoint.ifindex)
                .unwrap_or_else(|| endpoint.ifindex.to_string()),
            ifindex: endpoint.ifindex,
            id: endpoint.id.0,
            pod: None,
            problem: None,
            addresses: addresses(&endpoint),
            ingress: isolation(Endpoint::INGRESS_ISOLATED),
            egress: isolation(Endpoint::EGRESS_ISOLATED),
            enforced: false,
        }
    });
    let mut snapshot = Snapshot {
        endpoints: endpoints.collect(),
        ..Snapshot::default()
    };
    if let Some([major, minor, patch]) = pins.node_state().map(|state| state.agent)
        && [major, minor, patch] != [0; 3]
    {
        snapshot.agent.version = format!("{major}.{minor}.{patch}");
    }
    Ok(snapshot)
}

fn addresses(endpoint: &Endpoint) -> Vec<String> {
    let v4 = std::net::Ipv4Addr::from(endpoint.v4.0);
    let v6 = std::net::Ipv6Addr::from(endpoint.v6.0);
    let v4 = (!v4.is_unspecified()).then(|| v4.to_string());
    let v6 = (!v6.is_unspecified()).then(|| v6.to_string());
    v4.into_iter().chain(v6).collect()
}

/// Says what is wrong, if something is.
fn check(answer: Result<Option<Snapshot>, ControlError>) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let snapshot = match answer {
        Ok(Some(snapshot)) => snapshot,
        Ok(None) => {
            writeln!(out, "no agent runs")?;
            return Ok(ExitCode::from(NO_AGENT));
        }
        Err(error) => {
            writeln!(out, "no agent answers: {}", Printable(&error))?;
            return Ok(ExitCode::from(NO_AGENT));
        }
    };
    let faults = faults(&snapshot);
    for fault in &faults {
        writeln!(out, "{}", Printable(fault))?;
    }
    Ok(if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Everything because of which not all that should be enforced is, for sure.
fn faults(snapshot: &Snapshot) -> Vec<String> {
    let mut faults = Vec::new();
    if !snapshot.agent.enforcing {
        faults.push(format!("the agent is {}", snapshot.agent.state));
    }
    faults.extend(snapshot.stale());
    faults.extend(snapshot.unenforced.iter().map(ToString::to_string));
    faults.extend(snapshot.failures.iter().cloned());
    faults
}

fn write_text(out: &mut impl io::Write, report: &Report, pins: &PinDir) -> io::Result<()> {
    let snapshot = &report.snapshot;
    if report.running {
        let agent = &snapshot.agent;
        writeln!(
            out,
            "agent: {} running, process {}, {}, attached by {}",
            agent.version, agent.pid, agent.state, agent.attach
        )?;
        if let Some(stale) = snapshot.stale() {
            writeln!(out, "{stale}")?;
        }
        if let Some(why) = &agent.decided_anew {
            writeln!(out, "{}", Printable(why))?;
        }
        if agent.lost_log_lines > 0 {
            writeln!(out, "log lines lost: {}", agent.lost_log_lines)?;
        }
    } else if snapshot.endpoints.is_empty() && report.tables.is_empty() {
        writeln!(
            out,
            "agent: not running; nothing is pinned in {}",
            pins.path().display()
        )?;
        return others(out, &report.other_agents);
    } else {
        let version = match snapshot.agent.version.as_str() {
            "" => String::new(),
            version => format!(" ({version})"),
        };
        writeln!(
            out,
            "agent: not running; the kernel enforces what the last one{version} left (names of pods and policies are not known)"
        )?;
    }
    for source in &snapshot.sources {
        let synced = if source.synced { "" } else { ", being read" };
        let revision = source.revision.as_deref().unwrap_or("nothing yet");
        let name = Printable(&source.name);
        writeln!(out, "source: {name}{synced}, in force: {revision}")?;
        for watch in &source.watches {
            writeln!(out, "  {}", Printable(watch))?;
        }
    }
    let services = &snapshot.services;
    if services.ranges > 0 {
        let judged = match &services.open_exit {
            _ if services.judged_behind => "egress is judged by who stands behind them".to_owned(),
            Some(open) => {
                format!(
                    "egress is judged by their own addresses, because packets leave by {open} unjudged"
                )
            }
            None => "egress is judged by their own addresses".to_owned(),
        };
        writeln!(
            out,
            "services: {} ranges; {}",
            services.ranges,
            Printable(&judged)
        )?;
    }
    writeln!(out, "\nendpoints: {}", snapshot.endpoints.len())?;
    for endpoint in &snapshot.endpoints {
        let unknown = if report.running { "unknown pod" } else { "pod" };
        writeln!(
            out,
            "  {} ({})  {}  {}",
            endpoint.interface,
            endpoint.ifindex,
            endpoint.pod.as_deref().unwrap_or(unknown),
            endpoint.addresses.join(" ")
        )?;
        if let Some(problem) = &endpoint.problem {
            writeln!(out, "    {}", Printable(problem))?;
        }
        writeln!(out, "    ingress  {}", isolation(&endpoint.ingress))?;
        writeln!(out, "    egress   {}", isolation(&endpoint.egress))?;
    }
    let unenforced: Vec<_> = snapshot
        .unenforced
        .iter()
        .map(ToString::to_string)
        .collect();
    section(out, "NOT ENFORCED", &unenforced)?;
    section(
        out,
        "left alone (no pod is known behind them)",
        &snapshot.ignored,
    )?;
    section(out, "refused objects", &snapshot.refused)?;
    section(out, "in force in an earlier form", &snapshot.kept)?;
    section(out, "address conflicts", &snapshot.conflicts)?;
    section(out, "tables that are not up to date", &snapshot.failures)?;
    others(out, &report.other_agents)?;
    writeln!(out, "\ntables:")?;
    for table in &report.tables {
        writeln!(
            out,
            "  {:<13} {:>8} of {}",
            table.name, table.entries, table.most
        )?;
    }
    Ok(())
}

/// What other agents have here.
fn others(out: &mut impl io::Write, others: &OtherAgents) -> io::Result<()> {
    section(out, "other agents", &super::others::lines(others))
}

fn isolation(isolation: &Isolation) -> String {
    match (isolation.isolated, isolation.policies.is_empty()) {
        (false, _) => "open".into(),
        (true, true) => "isolated".into(),
        (true, false) => format!("isolated by {}", isolation.policies.join(", ")),
    }
}

fn section(out: &mut impl io::Write, title: &str, lines: &[String]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{title}:")?;
    lines
        .iter()
        .try_for_each(|line| writeln!(out, "  {}", Printable(line)))
}

/// A report with one element in every list.
#[cfg(test)]
pub(super) fn example() -> serde_json::Value {
    use crate::{
        datapath::{OtherPins, OtherProgram},
        source::WatchStatus,
    };

    let one = || vec![String::new()];
    let isolation = || Isolation {
        isolated: true,
        policies: one(),
    };
    let endpoint = EndpointStatus {
        interface: String::new(),
        ifindex: 1,
        id: 1,
        pod: None,
        problem: None,
        addresses: one(),
        ingress: isolation(),
        egress: isolation(),
        enforced: true,
    };
    let unenforced = agent::UnenforcedInterface {
        interface: String::new(),
        pod: None,
        reason: String::new(),
        remedy: None,
        is_way_round: false,
    };
    let report = Report {
        running: true,
        snapshot: Snapshot {
            sources: vec![agent::SourceStatus {
                watches: vec![WatchStatus::default()],
                ..agent::SourceStatus::default()
            }],
            endpoints: vec![endpoint],
            unenforced: vec![unenforced],
            ignored: one(),
            refused: one(),
            kept: one(),
            conflicts: one(),
            failures: one(),
            ..Snapshot::default()
        },
        other_agents: OtherAgents {
            pin_paths: vec![OtherPins {
                path: String::new(),
                process: None,
            }],
            programs: vec![OtherProgram {
                interface: String::new(),
                program: String::new(),
                prog_id: 1,
                pin_path: None,
            }],
        },
        tables: vec![MapFill {
            name: String::new(),
            entries: 0,
            most: 0,
        }],
    };
    serde_json::to_value(report).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{STALE_MS, UnenforcedInterface};

    #[test]
    fn a_probe_fails_while_anything_is_not_enforced() {
        let mut snapshot = Snapshot::default();
        snapshot.agent.state = "attaching programs".into();
        assert_eq!(faults(&snapshot), ["the agent is attaching programs"]);
        snapshot.agent.enforcing = true;
        assert!(faults(&snapshot).is_empty());
        snapshot.agent.age_ms = STALE_MS;
        assert_eq!(faults(&snapshot).len(), 1);
        snapshot.agent.age_ms = 0;
        snapshot.unenforced.push(UnenforcedInterface {
            interface: "veth1".into(),
            pod: Some("shop/web".into()),
            reason: "no room".into(),
            remedy: Some("make some".into()),
            is_way_round: false,
        });
        assert_eq!(
            faults(&snapshot),
            ["veth1 (pod shop/web): no room; make some"]
        );
    }
}
