//! The steps by which `commit` and `collect` bring tables up to date with the facts.
//!
//! Each file is one step; `commit` and `collect` say the order.

pub(crate) mod activate;
pub(crate) mod address;
pub(crate) mod collect;
pub(crate) mod commit;
pub(crate) mod endpoint;
pub(crate) mod refine;
