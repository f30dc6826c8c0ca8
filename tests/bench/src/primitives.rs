//! Group `primitives`: what this machine takes for the things that every datapath has to do.
//!
//! A function call that costs nanoseconds (mitigations of speculation), or a memory that is far away,
//! is in every figure of every datapath here: these figures say how much of it.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};

use crate::{
    cpu, cpu::Pinned, group::Group, interleave::Pair, interleave::Rounds,
    interleave::TC_ACT_UNSPEC, options::Options, report::Figure, report::Report,
};
use policy_bpf::{Dealer, Draw, Field, HASH_KEY, Primitive, Run, Table, empty};

pub(crate) const GROUP: Group = Group {
    name: NAME,
    cases: &[FUNCTION_CALL, HELPER_CALL, CLOCK, LOOKUP, REPLACE],
    run,
};

const NAME: &str = "primitives";
const FUNCTION_CALL: &str = "function_call";
const HELPER_CALL: &str = "helper_call";
const CLOCK: &str = "clock";
const LOOKUP: &str = "lookup";
const REPLACE: &str = "replace";

const CASES: [(&str, Primitive, &[u32]); 5] = [
    (FUNCTION_CALL, Primitive::FunctionCall, &[1]),
    (HELPER_CALL, Primitive::HelperCall, &[1]),
    (CLOCK, Primitive::Clock, &[1]),
    (LOOKUP, Primitive::Lookup, &[1, 1_000, 16_000, 100_000]),
    (REPLACE, Primitive::Replace, &[1, 1_000, 16_000, 100_000]),
];
/// Long enough for a test run.
const FRAME: [u8; 64] = [0; 64];
/// Of `struct __sk_buff`, as far as test runs read it.
const CONTEXT: [u8; 64] = [0; 64];

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let rounds = options.pick(
        Rounds {
            count: 61,
            repeat: 16_384,
        },
        Rounds {
            count: 9,
            repeat: 4_096,
        },
    );
    let _pinned = Pinned::to(cpu::last()?)?;
    for (case, primitive, sizes) in CASES {
        if !options.wants(NAME, case) {
            continue;
        }
        for &entries in sizes {
            report.expect(1);
            let table = Table::of(entries).context("a hash table")?;
            let mut programs = [
                primitive.load(&table).with_context(|| case.to_owned())?,
                empty()?,
            ];
            let mut dealers = Vec::new();
            if entries > 1 {
                let key = Field {
                    offset: HASH_KEY,
                    is_port: false,
                    base: 0,
                    draw: Draw::Random(entries),
                };
                for program in &mut programs {
                    let dealer = Dealer::new(&[key], program.as_fd())?;
                    *program = dealer.program()?;
                    dealers.push(dealer);
                }
            }
            let [subject, baseline] = programs.map(|program| Run::new(program, &FRAME, &CONTEXT));
            let pair = Pair {
                subject,
                baseline,
                action: TC_ACT_UNSPEC,
            };
            let summary = pair.compare(rounds, || Ok(()))?;
            let figure = Figure::of(NAME, case, "ns", summary);
            report.add(if sizes.len() > 1 {
                figure.with("entries", entries)
            } else {
                figure
            });
        }
    }
    Ok(())
}
