//! What tests of this and of other crates hold plans and tables against: the literal reading of the
//! specification, random clusters, packets that tell tables apart, and tables that the programs' own
//! code reads.
//!
//! Part of no product: only with the feature `laws`.

pub mod lawful;
pub mod oracle;
pub mod probe;
pub mod strategies;
pub mod tables;

pub use oracle::{Facts, Oracle};
pub use probe::{Probe, probes};
pub use tables::{Memory, Tables};
