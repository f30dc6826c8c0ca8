//! The binding to the kernel: maps, packet access, metadata, events. All unsafe code of the crate.

pub(crate) mod frame;
mod known;
pub(crate) mod maps;
pub(crate) mod metadata;
pub(crate) mod report;
mod shares;
pub(crate) mod world;
