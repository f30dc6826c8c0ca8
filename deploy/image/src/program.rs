//! Whether a program needs nothing but a kernel: there is nothing else in the image.
//!
//! Knows as much of ELF as that takes (System V ABI, chapters 4 and 5).

use anyhow::{Result, bail, ensure};

const MAGIC: &[u8] = b"\x7fELF\x02\x01";
/// `e_machine`, `e_phoff`, `e_phentsize`, `e_phnum`: where they are in a file of class 64.
const MACHINE: usize = 18;
const HEADERS: usize = 32;
const HEADER_SIZE: usize = 54;
const HEADER_COUNT: usize = 56;
const X86_64: u64 = 62;
/// The type of a program header that names the loader of a dynamic program.
const INTERPRETER: u64 = 3;

/// An error unless the program is for x86-64 and asks for no loader.
pub(crate) fn is_alone(program: &[u8]) -> Result<()> {
    ensure!(program.starts_with(MAGIC), "not a 64-bit program");
    ensure!(
        number(program, MACHINE, 2)? == X86_64,
        "not a program for x86-64"
    );
    let headers = number(program, HEADERS, 8)?;
    let size = number(program, HEADER_SIZE, 2)?;
    for index in 0..number(program, HEADER_COUNT, 2)? {
        let at = usize::try_from(headers + index * size)?;
        if number(program, at, 4)? == INTERPRETER {
            bail!("not a static program: it asks for a loader, which the image does not have");
        }
    }
    Ok(())
}

/// A little-endian number of some bytes.
fn number(program: &[u8], at: usize, bytes: usize) -> Result<u64> {
    let Some(bytes) = at.checked_add(bytes).and_then(|end| program.get(at..end)) else {
        bail!("a program that is cut short");
    };
    Ok(bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_loader_is_refused_and_so_is_what_is_none() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let refused = is_alone(&own).unwrap_err().to_string();
        assert!(refused.contains("static"), "{refused}");
        assert!(is_alone(b"#!/bin/sh").is_err());
        assert!(is_alone(&own[..60]).is_err());
    }

    #[test]
    fn a_program_whose_headers_name_no_loader_is_taken() {
        let mut program = vec![0; 64 + 56];
        program[..6].copy_from_slice(MAGIC);
        program[MACHINE] = 62;
        program[HEADERS] = 64;
        program[HEADER_SIZE] = 56;
        program[HEADER_COUNT] = 1;
        program[64] = 1;
        is_alone(&program).unwrap();
        program[64] = 3;
        assert!(is_alone(&program).is_err());
    }
}
