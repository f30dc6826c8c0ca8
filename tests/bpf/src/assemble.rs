//! The few BPF instructions that the bench's own programs are made of.
//!
//! Encoding and numbers: Documentation/bpf/standardization/instruction-set.rst and
//! include/uapi/linux/bpf.h of the kernel.

use std::{io, os::fd::OwnedFd};

use super::{info::Move, sys};

/// A register. R0 returns, R1 to R5 are arguments and lost in a call, R6 to R9 survive it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R6 = 6,
    R7,
    R8,
    R9,
    /// The frame pointer: end of the stack.
    R10,
}

/// Bytes that a load or a store moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Width {
    Word = 0x00,
    Half = 0x08,
    Double = 0x18,
}

/// Helpers that are called, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Helper {
    /// Looks a key up in a map.
    Lookup = 1,
    /// Writes an entry of a map.
    Update = 2,
    /// Nanoseconds since boot.
    Clock = 5,
    /// Random 32 bits.
    Random = 7,
    /// Goes on in another program, with the same context.
    TailCall = 12,
    /// The memory node of this processor: one word, and not inlined.
    MemoryNode = 42,
}

/// What an immediate of 64 bits stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Wide {
    /// A map, by its descriptor.
    Map = 1,
    /// The first value of an array, by the descriptor of the map.
    Value = 2,
}

/// An instruction as the kernel reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const ALU64: u8 = 0x07;
const ALU_SOURCE: u8 = 0x08;
const ADD: u8 = 0x00;
const MUL: u8 = 0x20;
const DIV: u8 = 0x30;
const RSH: u8 = 0x70;
const MOD: u8 = 0x90;
const MOV: u8 = 0xb0;
const TO_BE: u8 = 0xdc;
const LOAD: u8 = 0x61;
const STORE: u8 = 0x63;
const WIDE: u8 = 0x18;
const JUMP_GREATER: u8 = 0x2d;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// In place of a source register: the call stays in the program.
const FUNCTION: u8 = 1;
const COPY: u8 = ALU64 | ALU_SOURCE | MOV;
const ADD_VALUE: u8 = ALU64 | ADD;
const CLASS: u8 = 0x07;
const LD: u8 = 0x00;
const LDX: u8 = 0x01;
const ST: u8 = 0x02;
const STX: u8 = 0x03;
const ALU32: u8 = 0x04;

/// What TC programs return so that later programs run.
const TC_ACT_UNSPEC: i32 = -1;

impl Instruction {
    const fn new(code: u8, to: Reg, from: u8, offset: i16, immediate: i32) -> Self {
        Self {
            code,
            registers: to as u8 | from << 4,
            offset,
            immediate,
        }
    }

    /// `to = value`
    pub(super) const fn set(to: Reg, value: i32) -> Self {
        Self::new(ALU64 | MOV, to, 0, 0, value)
    }

    /// `to = from`
    pub(super) const fn copy(to: Reg, from: Reg) -> Self {
        Self::new(COPY, to, from as u8, 0, 0)
    }

    /// `to += value`
    pub(super) const fn add(to: Reg, value: i32) -> Self {
        Self::new(ADD_VALUE, to, 0, 0, value)
    }

    /// `to *= value`
    pub(super) const fn multiply(to: Reg, value: i32) -> Self {
        Self::new(ALU64 | MUL, to, 0, 0, value)
    }

    /// `to /= value`
    pub(super) const fn divide(to: Reg, value: i32) -> Self {
        Self::new(ALU64 | DIV, to, 0, 0, value)
    }

    /// `to %= value`
    pub(super) const fn modulo(to: Reg, value: i32) -> Self {
        Self::new(ALU64 | MOD, to, 0, 0, value)
    }

    /// `to >>= bits`
    pub(super) const fn shift_right(to: Reg, bits: i32) -> Self {
        Self::new(ALU64 | RSH, to, 0, 0, bits)
    }

    /// The low `bits` of `to` in network byte order.
    pub(super) const fn to_network(to: Reg, bits: i32) -> Self {
        Self::new(TO_BE, to, 0, 0, bits)
    }

    /// `to = *(from + offset)`
    pub(super) const fn load(width: Width, to: Reg, from: Reg, offset: i16) -> Self {
        Self::new(LOAD | width as u8, to, from as u8, offset, 0)
    }

    /// `*(to + offset) = from`
    pub(super) const fn store(width: Width, to: Reg, offset: i16, from: Reg) -> Self {
        Self::new(STORE | width as u8, to, from as u8, offset, 0)
    }

    /// Goes over `skipped` instructions if `one > other`.
    pub(super) const fn skip_if_greater(one: Reg, other: Reg, skipped: i16) -> Self {
        Self::new(JUMP_GREATER, one, other as u8, skipped, 0)
    }

    /// `to` = the address of something of the kernel's; two instructions.
    pub(super) const fn wide(to: Reg, kind: Wide, descriptor: i32) -> [Self; 2] {
        [
            Self::new(WIDE, to, kind as u8, 0, descriptor),
            Self::new(0, Reg::R0, 0, 0, 0),
        ]
    }

    /// Calls a helper.
    pub(super) const fn call(helper: Helper) -> Self {
        Self::new(CALL, Reg::R0, 0, 0, helper as i32)
    }

    /// Calls a function of the program, so many instructions behind the next one.
    pub(super) const fn call_behind(skipped: i32) -> Self {
        Self::new(CALL, Reg::R0, FUNCTION, 0, skipped)
    }

    /// Returns R0.
    pub(super) const fn exit() -> Self {
        Self::new(EXIT, Reg::R0, 0, 0, 0)
    }
}

/// Reading instructions, as far as facts about programs need it.
impl Instruction {
    /// Calls one of the kernel's functions.
    pub(super) const fn calls_helper(&self) -> bool {
        self.code == CALL && self.registers >> 4 == 0
    }

    /// Calls a function of the program, so many instructions behind the next one.
    pub(super) const fn calls_function(&self) -> Option<isize> {
        // The kernel moves the distance here when it compiles functions one by one.
        if self.code == CALL && self.registers >> 4 == FUNCTION {
            Some(self.offset as isize)
        } else {
            None
        }
    }

    /// The register by which memory is read or written, and the offset.
    pub(super) fn address(&self) -> Option<(usize, i64)> {
        let (to, from) = (self.to(), self.from());
        let register = match self.code & CLASS {
            LDX => Some(from),
            ST | STX => Some(to),
            _ => None,
        };
        register.map(|register| (register, self.offset.into()))
    }

    /// What it does to a register.
    pub(super) fn moves(&self) -> Option<Move> {
        let (to, from) = (self.to(), self.from());
        match self.code {
            COPY => Some(Move::Copy { to, from }),
            ADD_VALUE => Some(Move::Add {
                to,
                value: self.immediate.into(),
            }),
            code => match code & CLASS {
                LD | LDX | ALU32 | ALU64 => Some(Move::Other { to }),
                _ => None,
            },
        }
    }

    fn to(&self) -> usize {
        usize::from(self.registers & 0xf)
    }

    fn from(&self) -> usize {
        usize::from(self.registers >> 4)
    }
}

#[cfg(test)]
impl Instruction {
    /// `*(frame pointer + offset) = R1`
    pub(super) const fn spill(offset: i16) -> Self {
        Self {
            registers: 10 | 1 << 4,
            ..Self::store(Width::Double, Reg::R0, offset, Reg::R1)
        }
    }

    /// `to` = frame pointer
    pub(super) const fn copy_frame_pointer(to: Reg) -> Self {
        Self {
            registers: to as u8 | 10 << 4,
            ..Self::copy(to, Reg::R0)
        }
    }

    /// Calls a function, as the kernel shows it.
    pub(super) const fn call_function(offset: i16) -> Self {
        Self::new(CALL, Reg::R0, FUNCTION, offset, 0)
    }
}

/// A classifier that lets every packet pass and does nothing: what everything is compared with.
///
/// # Errors
/// The kernel's reason.
pub fn empty() -> io::Result<OwnedFd> {
    sys::load_classifier(&[
        Instruction::set(Reg::R0, TC_ACT_UNSPEC),
        Instruction::exit(),
    ])
}
