//! The decision core over maps in memory: one file per part of semantics. The suites compile the same
//! cases with a twin in the kernel.

mod addresses;
mod budget;
mod carrying;
mod closing;
mod copies;
mod errors;
mod flows;
mod fragments;
mod frames;
mod giving_way;
mod groups;
mod headers;
mod judgements;
mod limits;
mod link;
mod loans;
mod neighbours;
mod node;
mod origins;
mod owed;
mod phases;
mod reopening;
mod rules;
mod sequences;
mod services;
mod short_way;
mod talk;
#[cfg_attr(in_kernel, path = "../../../tests/suites/tests/decisions/twin/mod.rs")]
mod twin;
mod unpoliced;
