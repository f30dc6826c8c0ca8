//! The facts as they stand, indexed: who is known, with which labels and addresses.
//!
//! Knows nothing of predicates, rulesets or tables, but for what ADDRESSES says of each address,
//! which the address book remembers.

pub(crate) mod book;
pub(crate) mod claims;
pub(crate) mod cluster;
pub(crate) mod group;
pub(crate) mod ids;
pub(crate) mod label_index;
pub(crate) mod pod;
pub(crate) mod pool;
