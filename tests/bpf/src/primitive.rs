//! Programs that do one thing that every datapath has to do, and nothing else.
//!
//! What they cost above the empty program is what this machine takes for that thing: a scale for the
//! figures of the datapath, whatever it is written in.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use super::{
    assemble::{Helper, Instruction, Reg, Wide, Width},
    sys,
};

/// One thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Primitive {
    /// Calls a function of the program that returns at once.
    FunctionCall,
    /// Calls a helper that reads one word.
    HelperCall,
    /// Reads the clock in nanoseconds.
    Clock,
    /// Looks the packet's key up in a hash table.
    Lookup,
    /// Replaces the entry of the packet's key.
    Replace,
}

/// Where the packet has the varying part of the key, big-endian.
pub const HASH_KEY: u16 = 14;

/// Bytes of a key and of a value: those of a flow over IPv4.
const SIZE: usize = 16;
const STACK: i16 = -(SIZE as i16);
const TC_ACT_UNSPEC: i32 = -1;
/// Offsets in `struct __sk_buff`.
const DATA: i16 = 76;
const DATA_END: i16 = 80;

/// A preallocated hash table whose keys are the first numbers.
#[derive(Debug)]
pub struct Table(OwnedFd);

impl Table {
    /// Makes one with room for as many entries again.
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn of(entries: u32) -> io::Result<Self> {
        let table = sys::map(sys::HASH, SIZE, SIZE, entries * 2)?;
        let mut key = [0; SIZE];
        for number in 0..entries {
            key[..4].copy_from_slice(&number.to_be_bytes());
            sys::update(table.as_fd(), &key, &[1; SIZE])?;
        }
        Ok(Self(table))
    }
}

impl Primitive {
    /// Loads the program. The packet must have a number of the table at [`HASH_KEY`].
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn load(self, table: &Table) -> io::Result<OwnedFd> {
        let mut program = match self {
            Self::FunctionCall => vec![Instruction::call_behind(2)],
            Self::HelperCall => vec![Instruction::call(Helper::MemoryNode)],
            Self::Clock => vec![Instruction::call(Helper::Clock)],
            Self::Lookup => with_key(&[Instruction::call(Helper::Lookup)], table),
            Self::Replace => with_key(
                &[
                    Instruction::copy(Reg::R3, Reg::R2),
                    Instruction::set(Reg::R4, 0),
                    Instruction::call(Helper::Update),
                ],
                table,
            ),
        };
        let passes = [
            Instruction::set(Reg::R0, TC_ACT_UNSPEC),
            Instruction::exit(),
        ];
        program.extend(passes);
        if self == Self::FunctionCall {
            program.extend(passes);
        }
        sys::load_classifier(&program)
    }
}

/// `then` with the table in R1 and the packet's key, on the stack, in R2.
fn with_key(then: &[Instruction], table: &Table) -> Vec<Instruction> {
    use Reg::{R1, R2, R3, R6, R8, R9, R10};
    let mut found = vec![
        Instruction::load(Width::Word, R3, R8, HASH_KEY.cast_signed()),
        Instruction::store(Width::Word, R10, STACK, R3),
    ];
    found.extend(Instruction::wide(R1, Wide::Map, table.0.as_raw_fd()));
    found.extend([
        Instruction::copy(R2, R10),
        Instruction::add(R2, STACK.into()),
    ]);
    found.extend(then);
    let mut program = vec![
        Instruction::copy(R6, R1),
        Instruction::set(R3, 0),
        Instruction::store(Width::Double, R10, STACK, R3),
        Instruction::store(Width::Double, R10, STACK + 8, R3),
        Instruction::load(Width::Word, R8, R6, DATA),
        Instruction::load(Width::Word, R9, R6, DATA_END),
        Instruction::copy(R2, R8),
        Instruction::add(R2, i32::from(HASH_KEY) + 4),
        Instruction::skip_if_greater(R2, R9, found.len() as i16),
    ];
    program.extend(found);
    program
}
