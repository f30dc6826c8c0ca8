//! What policies ask for: predicates on addresses, and contents of rulesets made of them.
//!
//! Reads facts and knows no table, but that rulesets and identities have numbers. Invariant: what
//! is equal in meaning and form is stored once.

pub(crate) mod block;
pub(crate) mod content;
pub(crate) mod policy;
pub(crate) mod ports;
pub(crate) mod predicate;
pub(crate) mod term;
