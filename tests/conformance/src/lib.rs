//! Runs reachability cases of the format `netpol-case/v1` against the datapath.
//!
//! `case` and `step` are a file as it stands; `cluster` keeps the cluster as actions change it and hands facts to one
//! `compile` agent per node; `probe` lists the connections that a step asserts; a `ground` –
//! `kernel` or `wire` – finds what becomes of each; `run` compares. Nothing here decides a verdict.

mod batch;
mod case;
mod cluster;
mod compile;
mod drops;
mod endpoint;
mod ground;
mod kernel;
mod objects;
mod packet;
mod pool;
mod probe;
mod regime;
mod report;
mod run;
mod step;
mod support;
mod verdict;
mod wire;

pub use batch::{Options, Way, run_case, run_files};
pub use case::{Case, find};
pub use report::{CaseReport, Failure, Summary};
