//! The steps by which `commit` and `collect` bring tables up to date with the facts.
//!
//! Each file is one step, and a step is a function of what it reads and changes; `commit` and
//! `collect` say the order.

mod activate;
mod address;
mod choose;
mod collect;
mod commit;
mod endpoint;
mod namespace;
mod refine;
mod rule;

pub(crate) use collect::collect_but;
pub(crate) use commit::commit;
