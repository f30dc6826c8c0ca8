//! What a packet costs against the number of policies that select its receiver.
//!
//! *added*: nanoseconds that a packet from pod to pod takes longer than without any program or rule,
//! on one processor, everything included that the enforcer causes: attachment, connection tracking,
//! evaluation, the new entry. `traffic=established`: packets of one flow that was answered.
//! `traffic=new`: every packet opens a flow of its own, which one of the policies allows, that in
//! the middle.

use std::time::Duration;

use anyhow::Result;

use super::{
    NAME,
    cluster::{Policies, Selected},
    evidence::{self, Evidence},
    processor::Processor,
    rounds::{self, Effort},
    udp::{Link, Traffic},
    world::{Setting, World},
};
use crate::{options::Options, report::Figure, report::Report};

/// The case's name.
pub(super) const CASE: &str = "policies";
/// The first is what the others are compared with.
const RULESETS: [(&str, Setting); 4] = [
    ("nothing", Setting::Nothing),
    ("ours", Setting::Agent),
    ("nftables", Setting::Nftables),
    ("iptables", Setting::Iptables),
];
/// New flows that a pod may be sent within their lifetime: fewer than source ports and than the
/// agent's limit for one pod.
const FLOWS: usize = 40_000;

struct Ground {
    world: World,
    link: Link,
    sent: Evidence,
}

/// Measures if the options want it.
pub(super) fn measure(options: &Options, on: Processor, report: &mut Report) -> Result<()> {
    if !options.wants(NAME, CASE) {
        return Ok(());
    }
    let counts = options.pick(&[10, 100, 1_000, 10_000][..], &[10, 1_000][..]);
    let traffics = [Traffic::Established, Traffic::New];
    report.expect(counts.len() * traffics.len() * (RULESETS.len() - 1));
    for count in counts {
        report.doing(&format!("{NAME}/{CASE}: building {count} policies"));
        let policies = Policies {
            count: *count,
            selected: Selected::Server,
        };
        let mut grounds = build(policies)?;
        for traffic in traffics {
            add(options, on, report, *count, traffic, &mut grounds)?;
        }
    }
    Ok(())
}

fn build(policies: Policies) -> Result<Vec<Ground>> {
    let worlds = RULESETS.iter().map(|(_, setting)| {
        let world = World::new(*setting, policies)?;
        let link = Link::open(&world)?;
        evidence::check_denial(&world, &link)?;
        Ok(Ground {
            world,
            link,
            sent: Evidence::default(),
        })
    });
    worlds.collect()
}

fn add(
    options: &Options,
    on: Processor,
    report: &mut Report,
    count: usize,
    traffic: Traffic,
    grounds: &mut [Ground],
) -> Result<()> {
    let rounds = options.pick(15, 5);
    let effort = Effort {
        rounds,
        sample: Duration::from_millis(options.pick(40, 20)),
        most: match traffic {
            Traffic::Established => usize::MAX,
            Traffic::New => FLOWS / rounds,
        },
    };
    let mut before = Vec::new();
    for ground in grounds.iter_mut() {
        ground.sent = Evidence::default();
        // Building the other worlds may have taken longer than a silent flow lives.
        ground.link.greet()?;
        before.push(evidence::count(&ground.world, "udp")?);
    }
    let samples = rounds::measure(grounds, effort, |ground, count| {
        match traffic {
            Traffic::Established => ground.sent.carried += count as u64,
            Traffic::New => ground.sent.opened += count as u64,
        }
        ground.link.packets(on, traffic, count)
    })?;
    for (ground, before) in grounds.iter().zip(before) {
        let after = evidence::count(&ground.world, "udp")?;
        evidence::check(&ground.world, before, after, ground.sent)?;
    }
    let mut each = RULESETS.iter().map(|(name, _)| *name).zip(&samples);
    let Some((_, base)) = each.next() else {
        return Ok(());
    };
    for (name, samples) in each {
        let added = rounds::against(samples, base, |sample, base| sample - base)?;
        report.add(
            Figure::of(NAME, CASE, "ns", added)
                .with("ruleset", name)
                .with("policies", count)
                .with("traffic", traffic.name()),
        );
    }
    Ok(())
}
