//! A program that gives the measured program another packet in every run.
//!
//! `BPF_PROG_TEST_RUN` repeats one packet. A dealer stands in front: it overwrites fields of the
//! packet, then goes on in the program under test by a tail call (metadata and `cb[]` survive
//! that). What it costs itself is subtracted with the baseline: the same dealer in front of the
//! empty program. Invariant: the same number of instructions whatever it deals to.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
};

use super::{
    assemble::{Helper, Instruction, Reg, Wide, Width},
    sys,
};

/// A field of the packet that the dealer overwrites, in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Offset from the start of the frame.
    pub offset: u16,
    /// Four bytes (the end of an address) or two (a port).
    pub is_port: bool,
    /// The first value.
    pub base: u32,
    /// What is added to it.
    pub draw: Draw,
}

/// What is added to a field's first value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    /// Any number below this one.
    Random(u32),
    /// Numbers below `count` in turn, each for `every` packets in a row.
    InTurn {
        /// How many packets in a row have the same.
        every: u32,
        /// How many numbers.
        count: u32,
    },
}

/// What the dealer remembers between runs: a counter, then the next value of each field. The
/// values are drawn one run ahead: drawing lies between writing a field and reading it, so that
/// the reader does not wait for the store, as it would not for a packet from a network card.
#[derive(Debug)]
pub struct Dealer {
    program: OwnedFd,
    state: OwnedFd,
    targets: OwnedFd,
    fields: Vec<Field>,
}

const COUNTER_SIZE: usize = 8;
const SLOT_SIZE: usize = 4;
/// Offsets in `struct __sk_buff`.
const DATA: i16 = 76;
const DATA_END: i16 = 80;
/// Returned when the tail call did not happen; no action of TC.
const NOBODY: i32 = 99;

impl Dealer {
    /// Loads one that deals to `target`.
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn new(fields: &[Field], target: BorrowedFd<'_>) -> io::Result<Self> {
        let state = sys::one_entry(sys::ARRAY, COUNTER_SIZE + fields.len() * SLOT_SIZE)?;
        let targets = sys::one_entry(sys::PROGRAM_ARRAY, SLOT_SIZE)?;
        sys::set(targets.as_fd(), &target.as_raw_fd().to_ne_bytes())?;
        let dealer = Self {
            program: sys::load_classifier(&assemble(fields, state.as_fd(), targets.as_fd()))?,
            state,
            targets,
            fields: fields.to_vec(),
        };
        dealer.restart()?;
        Ok(dealer)
    }

    /// Begins again at the first packet.
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn restart(&self) -> io::Result<()> {
        let mut state = 0u64.to_ne_bytes().to_vec();
        for field in &self.fields {
            // As a load of a word, and a store of its first half, have it.
            let value = if field.is_port {
                u32::from((field.base as u16).to_be())
            } else {
                field.base.to_be()
            };
            state.extend(value.to_ne_bytes());
        }
        sys::set(self.state.as_fd(), &state)
    }

    /// The program to run. The array of targets empties itself when its last descriptor is closed:
    /// the dealer must outlive the runs.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn program(&self) -> io::Result<OwnedFd> {
        debug_assert!(self.targets.as_raw_fd() >= 0, "an open array of targets");
        self.program.try_clone()
    }
}

fn assemble(fields: &[Field], state: BorrowedFd<'_>, targets: BorrowedFd<'_>) -> Vec<Instruction> {
    use Reg::{R0, R1, R2, R3, R6, R7, R8, R9};
    let slot = |index: usize| (COUNTER_SIZE + index * SLOT_SIZE) as i16;
    let width = |field: &Field| {
        if field.is_port {
            Width::Half
        } else {
            Width::Word
        }
    };

    let mut deal = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        deal.extend([
            Instruction::load(Width::Word, R2, R7, slot(index)),
            Instruction::store(width(field), R8, field.offset.cast_signed(), R2),
        ]);
    }
    deal.extend([
        Instruction::load(Width::Double, R9, R7, 0),
        Instruction::add(R9, 1),
        Instruction::store(Width::Double, R7, 0, R9),
    ]);
    for (index, field) in fields.iter().enumerate() {
        match field.draw {
            Draw::Random(below) => deal.extend([
                Instruction::call(Helper::Random),
                Instruction::multiply(R0, below.cast_signed()),
                Instruction::shift_right(R0, 32),
            ]),
            Draw::InTurn { every, count } => deal.extend([
                Instruction::copy(R0, R9),
                Instruction::divide(R0, every.cast_signed()),
                Instruction::modulo(R0, count.cast_signed()),
            ]),
        }
        deal.extend([
            Instruction::add(R0, field.base.cast_signed()),
            Instruction::to_network(R0, if field.is_port { 16 } else { 32 }),
            Instruction::store(Width::Word, R7, slot(index), R0),
        ]);
    }

    let end = fields
        .iter()
        .map(|field| i32::from(field.offset) + if field.is_port { 2 } else { 4 })
        .max();
    let mut program = vec![Instruction::copy(R6, R1)];
    program.extend(Instruction::wide(R7, Wide::Value, state.as_raw_fd()));
    program.extend([
        Instruction::load(Width::Word, R8, R6, DATA),
        Instruction::load(Width::Word, R9, R6, DATA_END),
        Instruction::copy(R2, R8),
        Instruction::add(R2, end.unwrap_or_default()),
        Instruction::skip_if_greater(R2, R9, deal.len() as i16),
    ]);
    program.extend(deal);
    program.push(Instruction::copy(R1, R6));
    program.extend(Instruction::wide(R2, Wide::Map, targets.as_raw_fd()));
    program.extend([
        Instruction::set(R3, 0),
        Instruction::call(Helper::TailCall),
        Instruction::set(R0, NOBODY),
        Instruction::exit(),
    ]);
    program
}
