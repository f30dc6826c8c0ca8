//! What the project costs, measured: the groups of `cargo xtask bench`.
//!
//! A group is one module with a `group::Group`; it must know nothing of the others, and `run` is
//! the only place that knows all. Invariant: a case whose verdict or path is not the intended one
//! is an error, a missed bar is a figure.

mod batch;
mod compare;
mod cpu;
mod datapath;
mod group;
mod idle;
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
mod run;
mod start;
mod summary;
mod table;
mod to_kernel;
mod two_cpus;
mod wire;

pub use self::{
    compare::{Against, compare},
    machine::Machine,
    markdown::markdown,
    options::Options,
    plot::plot,
    report::{Bar, Figure, Parameters, Report},
    resolver::{Size, figures as resolver_figures, parse_size},
    run::run,
    summary::Summary,
    table::table,
};
