//! The groups in their order, and a run of those that are wanted.

use anyhow::{Context as _, Result};

use crate::{
    batch, datapath, group::Group, idle, machine::Machine, options::Options, primitives, programs,
    report::Report, resolver, start, to_kernel, two_cpus, wire,
};

/// Every group, in the order in which they run.
const GROUPS: &[Group] = &[
    primitives::GROUP,
    datapath::GROUP,
    two_cpus::GROUP,
    programs::GROUP,
    wire::GROUP,
    resolver::GROUP,
    to_kernel::GROUP,
    start::GROUP,
    batch::GROUP,
    idle::GROUP,
];

/// Measures what the options want. A group that fails costs its own figures only: the errors come
/// beside the report.
///
/// # Errors
/// The machine cannot be described.
pub fn run(options: &Options) -> Result<(Report, Vec<anyhow::Error>)> {
    let mut report = Report::new(Machine::describe()?);
    let mut errors = Vec::new();
    for group in GROUPS.iter().filter(|group| group.is_wanted(options)) {
        let outcome = (group.run)(options, &mut report);
        errors.extend(outcome.with_context(|| group.name.to_owned()).err());
    }
    report.finish();
    Ok((report, errors))
}

/// The cases of all groups: the group's name and their own.
pub(crate) fn cases() -> impl Iterator<Item = (&'static str, &'static str)> {
    GROUPS
        .iter()
        .flat_map(|group| group.cases.iter().map(|case| (group.name, *case)))
}
