//! The binding to the kernel: maps, packet access, metadata, events. All unsafe code of the crate.

mod flow_table;
pub(crate) mod frame;
pub(crate) mod globals;
mod known;
pub(crate) mod leaving;
mod lines;
pub(crate) mod maps;
pub(crate) mod metadata;
pub(crate) mod report;
mod shares;
mod steps;
pub(crate) mod world;
