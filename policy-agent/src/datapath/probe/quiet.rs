//! Takes out of an object what writes into tables that others share.
//!
//! The flow tables of the programs in force are the twin's too. A program changes a hash table only by the
//! helpers `bpf_map_update_elem` and `bpf_map_delete_elem`: in the twin's code each such call is an
//! assignment of 0, what the helper returns when it succeeds. Nothing of the programs in force is touched,
//! and they pay nothing for it.

use super::ProbeError;

/// A call of a helper: opcode, and no pseudo call in the upper half of the registers' byte.
const CALL: u8 = 0x85;
/// `r0 = immediate`.
const ASSIGN_R0: [u8; 8] = [0xb7, 0, 0, 0, 0, 0, 0, 0];
/// bpf_map_update_elem and bpf_map_delete_elem (include/uapi/linux/bpf.h).
const WRITERS: [u32; 2] = [2, 3];
/// An instruction of 16 bytes.
const LOAD_WIDE: u8 = 0x18;

const EXECUTABLE: u64 = 4;

/// A copy of an object without these calls, and how many there were.
pub(super) fn without_writes(object: &[u8]) -> Result<(Vec<u8>, usize), ProbeError> {
    let mut copy = object.to_vec();
    let mut found = 0;
    for (from, to) in code(object).ok_or(ProbeError::NoElf)? {
        let section = copy.get_mut(from..to).ok_or(ProbeError::NoElf)?;
        let mut at = 0;
        while let Some(instruction) = section.get_mut(at..at + 8) {
            let helper = [4, 5, 6, 7].map(|byte| instruction[byte]);
            let is_call = instruction[0] == CALL && instruction[1] >> 4 == 0;
            if is_call && WRITERS.contains(&u32::from_le_bytes(helper)) {
                instruction.copy_from_slice(&ASSIGN_R0);
                found += 1;
            }
            at += if instruction[0] == LOAD_WIDE { 16 } else { 8 };
        }
    }
    Ok((copy, found))
}

/// Where an ELF file of 64 bits, little endian, has its code.
fn code(elf: &[u8]) -> Option<Vec<(usize, usize)>> {
    let number = |at: usize, bytes: usize| {
        let field = elf.get(at..at.checked_add(bytes)?)?;
        let value = field.iter().rev();
        let value = value.fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        usize::try_from(value).ok()
    };
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, size, count) = (number(0x28, 8)?, number(0x3a, 2)?, number(0x3c, 2)?);
    let mut sections = Vec::new();
    for index in 0..count {
        let header = table.checked_add(index.checked_mul(size)?)?;
        let flags = number(header.checked_add(8)?, 8)?;
        if flags as u64 & EXECUTABLE != 0 {
            let from = number(header.checked_add(0x18)?, 8)?;
            sections.push((
                from,
                from.checked_add(number(header.checked_add(0x20)?, 8)?)?,
            ));
        }
    }
    Some(sections)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::EMBEDDED;

    #[test]
    fn no_call_that_writes_is_left_and_nothing_else_is_changed() {
        let Some(object) = EMBEDDED else {
            panic!("built without the eBPF object");
        };
        let (quiet, found) = without_writes(object).unwrap();
        assert!(found > 0, "the programs write flows");
        assert_eq!(without_writes(&quiet).unwrap(), (quiet.clone(), 0));
        let changed = object
            .iter()
            .zip(&quiet)
            .filter(|(one, other)| one != other);
        assert!(changed.count() <= 8 * found);
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        let Some(object) = EMBEDDED else {
            panic!("built without the eBPF object");
        };
        assert!(without_writes(b"").is_err());
        assert!(without_writes(b"\x7fELF\x02\x02").is_err());
        for length in [0, 6, 0x40, 1_000] {
            assert!(without_writes(&object[..length]).is_err(), "{length}");
        }
    }
}
