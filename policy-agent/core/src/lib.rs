//! The pure half of the agent: from compact facts about a cluster to ordered changes of the
//! kernel's tables.
//!
//! `model` holds the validated facts, `resolve` turns them into identities, rulesets and port
//! sets, `plan` orders what must change, `bind` says which interface is which pod. Nothing here
//! knows files, clocks, the network, or an API: the same input gives the same output.
#![forbid(unsafe_code)]

pub mod bind;
#[cfg(feature = "laws")]
pub mod laws;
pub mod model;
pub mod plan;
pub mod resolve;
