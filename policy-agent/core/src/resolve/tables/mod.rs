//! The rows of the kernel's tables that have numbers: identities, rulesets, port sets.
//!
//! Knows predicates and contents, and nothing of pods. Invariant: a number is used again only after
//! `collect`.

pub(crate) mod identity;
pub(crate) mod numbers;
pub(crate) mod port_set;
pub(crate) mod ruleset;
