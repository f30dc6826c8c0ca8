//! bpf(2) for the bench, the suites and the kernel matrix: timed runs of any program, the kernel's
//! account of it, and programs assembled by hand.
//!
//! Must not know the programs of the datapath: what the bench subtracts and what it puts in front
//! of them is assembled here, instruction by instruction.

mod assemble;
mod dealer;
mod ids;
mod info;
mod primitive;
mod run;
mod sys;

pub use self::{
    assemble::empty,
    dealer::{Dealer, Draw, Field},
    ids::map_ids,
    info::ProgramFacts,
    primitive::{HASH_KEY, Primitive, Table},
    run::Run,
};
