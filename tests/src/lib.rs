//! What the suites, the demo and the benchmarks stand on.

pub mod bench;
pub mod conformance;
pub mod fuzz;
pub mod harness;
