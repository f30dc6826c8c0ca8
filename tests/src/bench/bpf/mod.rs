//! Programs of the bench's own, and timed runs of any program.
//!
//! Owns raw use of bpf(2) by the bench. The bench must not stand on the programs that it measures:
//! what it subtracts and what it puts in front of them is assembled here, instruction by
//! instruction.

mod assemble;
mod dealer;
mod info;
mod primitive;
mod run;
mod sys;

pub(crate) use self::{
    assemble::empty,
    dealer::{Dealer, Draw, Field},
    primitive::{HASH_KEY, Primitive, Table},
};

pub use self::{info::ProgramFacts, run::Run};
