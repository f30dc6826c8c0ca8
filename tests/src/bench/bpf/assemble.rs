//! The few BPF instructions that the bench's own programs are made of.
//!
//! Encoding and numbers: Documentation/bpf/standardization/instruction-set.rst and
//! include/uapi/linux/bpf.h of the kernel.

use std::{io, os::fd::OwnedFd};

use super::sys;

/// A register. R0 returns, R1 to R5 are arguments and lost in a call, R6 to R9 survive it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reg {
    R0,
    R1,
    R2,
    R3,
    R6 = 6,
    R7,
    R8,
    R9,
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
    /// Random 32 bits.
    Random = 7,
    /// Goes on in another program, with the same context.
    TailCall = 12,
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
        Self::new(ALU64 | ALU_SOURCE | MOV, to, from as u8, 0, 0)
    }

    /// `to += value`
    pub(super) const fn add(to: Reg, value: i32) -> Self {
        Self::new(ALU64 | ADD, to, 0, 0, value)
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

    /// Returns R0.
    pub(super) const fn exit() -> Self {
        Self::new(EXIT, Reg::R0, 0, 0, 0)
    }
}

/// A classifier that lets every packet pass and does nothing: what everything is compared with.
///
/// # Errors
/// The kernel's reason.
pub(crate) fn empty() -> io::Result<OwnedFd> {
    sys::load_classifier(&[
        Instruction::set(Reg::R0, TC_ACT_UNSPEC),
        Instruction::exit(),
    ])
}
