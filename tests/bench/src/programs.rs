//! Group `programs`: what the kernel makes of each program, and how long its verifier takes.

use std::time::Instant;

use anyhow::{Context as _, Result};
use aya::{EbpfLoader, programs::SchedClassifier};
use policy_agent::datapath::EMBEDDED;
use policy_common::names;

use crate::{group::Group, options::Options, report::Figure, report::Report, summary::Summary};
use policy_bpf::ProgramFacts;

pub(crate) const GROUP: Group = Group {
    name: NAME,
    cases: &[SIZE, LOAD],
    run,
};

const NAME: &str = "programs";
const SIZE: &str = "size";
const LOAD: &str = "load";
/// The programs that packets meet.
const PROGRAMS: [&str; 3] = [names::FROM_POD, names::TO_POD, names::CLEAR_STAMP];

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let object = EMBEDDED.context("built without the eBPF object")?;
    for program in PROGRAMS {
        let mut times = Vec::new();
        let mut facts = None;
        for _ in 0..options.pick(9, 3) {
            let mut loader = EbpfLoader::new();
            // The maps are not used: as small as they may be.
            for map in SIZED_BY_AGENT {
                loader.map_max_entries(map, 2);
            }
            let mut ebpf = loader.load(object)?;
            let program: &mut SchedClassifier = ebpf
                .program_mut(program)
                .with_context(|| format!("no program {program}"))?
                .try_into()?;
            let began = Instant::now();
            program.load()?;
            times.push(began.elapsed().as_secs_f64() * 1e3);
            facts = Some(ProgramFacts::of(program.fd()?)?);
        }
        if options.wants(NAME, SIZE)
            && let Some(facts) = facts
        {
            add_facts(report, program, facts);
        }
        if options.wants(NAME, LOAD)
            && let Some(summary) = Summary::of(&times)
        {
            report.expect(1);
            report.add(Figure::of(NAME, LOAD, "ms", summary).with("program", program));
        }
    }
    Ok(())
}

/// Maps whose declared sizes are those of a large node.
const SIZED_BY_AGENT: [&str; 8] = [
    names::ADDRESSES_V4,
    names::ADDRESSES_V6,
    names::CIDRS_V4,
    names::CIDRS_V6,
    names::RULES,
    names::PORT_SETS,
    names::FLOWS_V4,
    names::FLOWS_V6,
];

fn add_facts(report: &mut Report, program: &str, facts: ProgramFacts) {
    let counts = [
        ("instructions", Some(facts.instructions), "count"),
        ("jited", Some(facts.jited_bytes), "bytes"),
        (
            "verified",
            facts.verified.map(|count| count as usize),
            "count",
        ),
        ("stack", Some(facts.stack_bytes), "bytes"),
        ("helper_calls", Some(facts.helper_calls), "count"),
        ("functions", Some(facts.functions), "count"),
    ];
    for (what, value, unit) in counts {
        let Some(value) = value else { continue };
        report.expect(1);
        report.add(
            Figure::single(NAME, SIZE, unit, value as f64)
                .with("program", program)
                .with("what", what),
        );
    }
}
