//! What the project costs, measured: the groups of `cargo xtask bench`.
//!
//! Owns the order of the groups and what they have in common: options, the report, the table.
//! A group is one module with a `Group`; it must know nothing of the others. Invariant: a case
//! whose verdict or path is not the intended one is an error, a missed bar is a figure.

mod bpf;
mod cpu;
mod datapath;
mod interleave;
mod machine;
mod markdown;
mod options;
mod plot;
mod primitives;
mod programs;
mod progress;
mod report;
mod resolver;
mod summary;
mod table;
mod to_kernel;
mod two_cpus;
mod wire;

use anyhow::{Context as _, Result};

pub use self::{
    bpf::{ProgramFacts, Run},
    machine::Machine,
    markdown::markdown,
    options::Options,
    plot::plot,
    report::{Bar, Figure, Parameters, Report},
    resolver::{Size, figures as resolver_figures, parse_size},
    summary::Summary,
    table::table,
};

/// Cases that are measured by one function.
pub(crate) struct Group {
    /// The first part of the figures' names.
    pub(crate) name: &'static str,
    /// The second part: what may be asked for.
    pub(crate) cases: &'static [&'static str],
    /// Measures the cases that the options want.
    pub(crate) run: fn(&Options, &mut Report) -> Result<()>,
}

/// Every group, in the order in which they run.
const GROUPS: &[Group] = &[
    primitives::GROUP,
    datapath::GROUP,
    two_cpus::GROUP,
    programs::GROUP,
    wire::GROUP,
    resolver::GROUP,
    to_kernel::GROUP,
];

/// Measures what the options want. A group that fails costs its own figures only: the errors come
/// beside the report.
///
/// # Errors
/// The machine cannot be described.
pub fn run(options: &Options) -> Result<(Report, Vec<anyhow::Error>)> {
    let mut report = Report::new(Machine::describe()?);
    let mut errors = Vec::new();
    for group in GROUPS {
        if !options.wants_any(group) {
            continue;
        }
        let outcome = (group.run)(options, &mut report);
        errors.extend(outcome.with_context(|| group.name.to_owned()).err());
    }
    report.finish();
    Ok((report, errors))
}
