//! What a user gets of a connection between two pods under each setting.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{
    NAME,
    cluster::{Policies, Selected},
    evidence::{self, Evidence},
    offload,
    processor::Processor,
    rounds::{self, Effort},
    tcp::Pair,
    udp::Link,
    world::{Setting, World},
};
use crate::{options::Options, report::Figure, report::Report, summary::Summary};
use policy_harness::Attach;

/// The policies of the settings that have any.
const POLICIES: Policies = Policies {
    count: 1000,
    selected: Selected::Both,
};
/// Name, setting and policies; the first is what the others are compared with.
const SETTINGS: [(&str, Setting, Policies); 8] = [
    ("nothing", Setting::Nothing, Policies::NONE),
    ("nothing-again", Setting::Control, Policies::NONE),
    ("empty-tcx", Setting::Empty(Attach::Tcx), Policies::NONE),
    (
        "empty-clsact",
        Setting::Empty(Attach::Clsact),
        Policies::NONE,
    ),
    ("free", Setting::Agent, Policies::NONE),
    ("isolated", Setting::Agent, POLICIES),
    ("nftables", Setting::Nftables, POLICIES),
    ("iptables", Setting::Iptables, POLICIES),
];
/// The setting for which there are bars.
const ISOLATED: &str = "isolated";
/// Bytes that one operation of bulk carries.
const BULK: usize = 1 << 20;
/// Connections that a world can make before its client runs out of ports, and its pods of flows.
const CONNECTIONS: usize = 10_000;

/// A case: its name, the unit of its rates, how many of those an operation is, and its bar.
struct Case {
    name: &'static str,
    unit: &'static str,
    scale: f64,
    least: Option<f64>,
}

const RR: Case = Case {
    name: "tcp_rr",
    unit: "transactions/s",
    scale: 1.0,
    least: Some(0.95),
};
const CRR: Case = Case {
    name: "tcp_crr",
    unit: "connections/s",
    scale: 1.0,
    least: Some(0.90),
};
const STREAM: Case = Case {
    name: "bulk",
    unit: "Gbit/s",
    scale: BULK as f64 * 8.0 / 1e9,
    least: None,
};
const PACKETS: Case = Case {
    name: "udp",
    unit: "packets/s",
    scale: 1.0,
    least: None,
};

/// A world with its sockets, and what was sent through them since evidence was last looked at.
struct Ground {
    name: &'static str,
    world: World,
    pair: Option<Pair>,
    link: Link,
    sent: Evidence,
}

impl Ground {
    fn pair(&self) -> Result<&Pair> {
        self.pair.as_ref().context("no connection")
    }

    /// Connects anew: what a connection may send at once is decided when it is opened.
    fn set_offload(&mut self, on: bool) -> Result<()> {
        self.pair = None;
        offload::set(&self.world, on)?;
        self.pair = Some(Pair::connect(&self.world)?);
        Ok(())
    }
}

/// Measures the cases that the options want.
pub(super) fn measure(options: &Options, on: Processor, report: &mut Report) -> Result<()> {
    let wants = |case: &Case| options.wants(NAME, case.name);
    if ![RR, CRR, STREAM, PACKETS].iter().any(wants) {
        return Ok(());
    }
    let mut grounds = build(report)?;
    let effort = Effort {
        rounds: options.pick(21, 5),
        sample: Duration::from_millis(options.pick(60, 20)),
        most: usize::MAX,
    };
    if wants(&RR) {
        let samples = compare(&mut grounds, "tcp", effort, |ground, count| {
            ground.sent.carried += count as u64;
            ground.pair()?.request_response(on, count)
        })?;
        add(report, &RR, &samples, None)?;
    }
    if wants(&CRR) {
        let effort = Effort {
            most: CONNECTIONS / effort.rounds,
            ..effort
        };
        let samples = compare(&mut grounds, "tcp", effort, |ground, count| {
            ground.sent.opened += count as u64;
            ground
                .pair()?
                .connect_request_response(&ground.world, on, count)
        })?;
        add(report, &CRR, &samples, None)?;
    }
    if wants(&STREAM) {
        for offload in [true, false] {
            for ground in &mut grounds {
                ground.set_offload(offload)?;
            }
            let effort = Effort {
                sample: effort.sample * 2,
                ..effort
            };
            let samples = compare(&mut grounds, "tcp", effort, |ground, count| {
                // No packet carries more than this.
                ground.sent.carried += (count * BULK / (1 << 16)) as u64;
                ground.pair()?.bulk(on, count * BULK)
            })?;
            add(report, &STREAM, &samples, Some(offload))?;
        }
    }
    if wants(&PACKETS) {
        let samples = compare(&mut grounds, "udp", effort, |ground, count| {
            ground.sent.carried += count as u64;
            ground.link.datagrams(on, count)
        })?;
        add(report, &PACKETS, &samples, None)?;
    }
    Ok(())
}

fn build(report: &mut Report) -> Result<Vec<Ground>> {
    let mut grounds = Vec::new();
    for (name, setting, policies) in SETTINGS {
        report.doing(&format!("{NAME}: building {name}"));
        let world = World::new(setting, policies)?;
        let link = Link::open(&world)?;
        evidence::check_denial(&world, &link)?;
        grounds.push(Ground {
            name,
            pair: Some(Pair::connect(&world)?),
            link,
            world,
            sent: Evidence::default(),
        });
    }
    Ok(grounds)
}

/// Nanoseconds per operation by setting and round, with evidence that each setting was in force.
fn compare(
    grounds: &mut [Ground],
    protocol: &str,
    effort: Effort,
    measure: impl FnMut(&mut Ground, usize) -> Result<Duration>,
) -> Result<Vec<(&'static str, Vec<f64>)>> {
    let mut before = Vec::new();
    for ground in grounds.iter_mut() {
        ground.sent = Evidence::default();
        // A silent flow lives for seconds only.
        ground.link.greet()?;
        before.push(evidence::count(&ground.world, protocol)?);
    }
    let samples = rounds::measure(grounds, effort, measure)?;
    for (ground, before) in grounds.iter().zip(before) {
        let after = evidence::count(&ground.world, protocol)?;
        evidence::check(&ground.world, before, after, ground.sent)?;
    }
    let names = grounds.iter().map(|ground| ground.name);
    Ok(names.zip(samples).collect())
}

/// Two figures per setting: the rate, and its ratio to that without anything.
fn add(
    report: &mut Report,
    case: &Case,
    samples: &[(&'static str, Vec<f64>)],
    offload: Option<bool>,
) -> Result<()> {
    let (_, base) = samples.first().context("no settings")?;
    report.expect(2 * samples.len());
    for (name, samples) in samples {
        let rates: Vec<f64> = samples.iter().map(|ns| case.scale * 1e9 / ns).collect();
        let rate = Summary::of(&rates).context("no samples")?;
        let ratio = rounds::against(samples, base, |sample, base| base / sample)?;
        let bar = case.least.filter(|_| *name == ISOLATED);
        for (unit, summary, relative, bar) in [
            (case.unit, rate, None, None),
            ("ratio", ratio, Some("nothing"), bar),
        ] {
            let mut figure = Figure::of(NAME, case.name, unit, summary).with("setting", name);
            if let Some(offload) = offload {
                figure = figure.with("offload", if offload { "on" } else { "off" });
            }
            if let Some(relative) = relative {
                figure = figure.with("relative_to", relative);
            }
            report.add(figure.at_least(bar));
        }
    }
    Ok(())
}
