//! Programs that call others of their generation.
//!
//! Invariant: while a program may run, a pin holds the array by which it calls: the kernel empties one that
//! nobody holds, and then the program drops what it would have passed on.

use aya::{
    Ebpf,
    maps::{MapData, ProgramArray},
};
use policy_common::names;

use super::{
    super::kernel::{
        part::{PartError, classifier, open},
        table::TableError,
    },
    load::LoadError,
};

/// Has programs that are loaded find those that they call. Objects of earlier versions have none.
pub(in crate::datapath) fn fill(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    if ebpf.program(names::TO_POD_OWED).is_none() {
        return Ok(());
    }
    let mut calls: ProgramArray<MapData> = open(ebpf, names::CALLS)?;
    for (call, name) in [
        (names::CALL_TO_POD, names::TO_POD),
        (names::CALL_TO_POD_OWED, names::TO_POD_OWED),
        (names::CALL_TO_POD_LAST, names::TO_POD_LAST),
    ] {
        let program = match classifier(ebpf, name)?.fd() {
            // A stand-in that is not loaded is not attached either.
            Err(_) if call == names::CALL_TO_POD_LAST => continue,
            program => program,
        };
        let program = program.map_err(|source| PartError::Program { name, source })?;
        calls
            .set(call, program, 0)
            .map_err(TableError::of(names::CALLS))?;
    }
    Ok(())
}
