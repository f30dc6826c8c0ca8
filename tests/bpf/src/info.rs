//! What the kernel made of a program: its size, its stack, its calls.

use std::{
    fmt, io,
    os::fd::{AsFd, AsRawFd as _},
};

use super::{assemble::Instruction, sys};

/// What is known of a loaded program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramFacts {
    /// Instructions after the verifier removed what is switched off and inlined what it can.
    pub instructions: usize,
    /// Bytes of machine code; 0 without a JIT compiler.
    pub jited_bytes: usize,
    /// Instructions that the verifier walked over, all ways together; `None` before Linux 5.16.
    pub verified: Option<u32>,
    /// Bytes of stack on the deepest chain of calls, of 512.
    pub stack_bytes: usize,
    /// Calls of the kernel's functions that stand in the program.
    pub helper_calls: usize,
    /// Functions of the program, the entry included.
    pub functions: usize,
}

impl ProgramFacts {
    /// Asks the kernel.
    ///
    /// # Errors
    /// The kernel's reason; it shows instructions to the privileged only.
    pub fn of(program: impl AsFd) -> io::Result<Self> {
        let descriptor = program.as_fd().as_raw_fd();
        let sizes = sys::program_info(descriptor, &mut [])?;
        let mut code = vec![Instruction::exit(); sizes.translated_bytes as usize / INSTRUCTION];
        let info = sys::program_info(descriptor, &mut code)?;
        let functions = functions(&code);
        Ok(Self {
            instructions: code.len(),
            jited_bytes: info.jited_bytes as usize,
            verified: (info.verified > 0).then_some(info.verified),
            stack_bytes: deepest(&code, &functions, 0, functions.len()),
            helper_calls: code.iter().filter(|one| one.calls_helper()).count(),
            functions: functions.len(),
        })
    }
}

impl fmt::Display for ProgramFacts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            instructions,
            jited_bytes,
            verified,
            stack_bytes,
            helper_calls,
            functions,
        } = self;
        let verified = verified.map_or_else(|| "?".to_owned(), |count| count.to_string());
        write!(
            formatter,
            "{instructions} instructions, {jited_bytes} bytes of machine code, {verified} \
             instructions verified, {stack_bytes} bytes of stack, {helper_calls} helper calls, \
             {functions} functions"
        )
    }
}

const INSTRUCTION: usize = 8;

/// Where the functions of a program begin, in order.
fn functions(code: &[Instruction]) -> Vec<usize> {
    let mut starts = vec![0];
    starts.extend(calls(code).map(|(_, target)| target));
    starts.sort_unstable();
    starts.dedup();
    starts
}

/// Calls of the program's own functions: where, and to where.
fn calls(code: &[Instruction]) -> impl Iterator<Item = (usize, usize)> {
    let offset = |(at, one): (usize, &Instruction)| {
        let target = at.checked_add_signed(one.calls_function()?)?;
        Some((at, target + 1))
    };
    code.iter().enumerate().filter_map(offset)
}

/// Bytes of stack that the function at `start` and the deepest of those that it calls need.
/// `depth` bounds a walk that the verifier has proved to end.
fn deepest(code: &[Instruction], functions: &[usize], start: usize, depth: usize) -> usize {
    let next = functions.iter().find(|other| **other > start);
    let end = next.copied().unwrap_or(code.len()).min(code.len());
    let own = code.get(start..end).map_or(0, frame);
    if depth == 0 {
        return own;
    }
    let called = calls(code)
        .filter(|(at, _)| (start..end).contains(at))
        .map(|(_, target)| deepest(code, functions, target, depth - 1))
        .max();
    own + called.unwrap_or(0)
}

/// Bytes of stack that a function names: relative to the frame pointer, or to a copy of it.
fn frame(code: &[Instruction]) -> usize {
    let mut copies = [None; 16];
    copies[FRAME_POINTER] = Some(0);
    let mut lowest = 0;
    for one in code {
        if let Some((register, offset)) = one.address()
            && let Some(base) = copies[register]
        {
            lowest = lowest.min(base + offset);
        }
        match one.moves() {
            Some(Move::Copy { to, from }) => copies[to] = copies[from],
            Some(Move::Add { to, value }) => {
                copies[to] = copies[to].map(|base: i64| base + value);
                lowest = lowest.min(copies[to].unwrap_or(0));
            }
            Some(Move::Other { to }) if to != FRAME_POINTER => copies[to] = None,
            _ => {}
        }
    }
    lowest.unsigned_abs() as usize
}

const FRAME_POINTER: usize = 10;

/// What an instruction does to registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    Copy { to: usize, from: usize },
    Add { to: usize, value: i64 },
    Other { to: usize },
}

#[cfg(test)]
mod tests {
    use super::{
        super::assemble::{Helper, Reg, Width},
        *,
    };

    #[test]
    fn the_stack_is_counted_over_the_deepest_chain_of_calls() {
        let code = [
            Instruction::spill(-8),
            Instruction::call_function(1),
            Instruction::exit(),
            // A buffer by a copy of the frame pointer.
            Instruction::copy_frame_pointer(Reg::R2),
            Instruction::add(Reg::R2, -64),
            Instruction::call(Helper::Random),
            Instruction::exit(),
        ];
        assert_eq!(functions(&code), [0, 3]);
        assert_eq!(frame(&code[..3]), 8);
        assert_eq!(frame(&code[3..]), 64);
        assert_eq!(deepest(&code, &[0, 3], 0, 2), 72);
        let helpers = code.iter().filter(|one| one.calls_helper()).count();
        assert_eq!(helpers, 1);
    }

    #[test]
    fn what_is_loaded_into_a_register_is_no_frame_pointer_any_more() {
        let code = [
            Instruction::copy_frame_pointer(Reg::R2),
            Instruction::load(Width::Word, Reg::R2, Reg::R1, 0),
            Instruction::add(Reg::R2, -400),
        ];
        assert_eq!(frame(&code), 0);
    }
}
