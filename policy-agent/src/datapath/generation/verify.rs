//! Has the kernel verify the programs of an object, which takes it seconds.
//!
//! Must not know what programs do. Invariant: what a generation can do without does not keep it from
//! being loaded.

use std::thread;

use aya::{
    Ebpf,
    programs::{Program, SchedClassifier},
};
use policy_common::names;

use super::super::kernel::part::{self, PartError};

/// Programs that every generation needs, and what it can do without.
const NEEDED: [&str; 3] = [names::FROM_POD, names::TO_POD, names::JIFFIES];
const OTHERS: [&str; 3] = [names::CLEAR_STAMP, names::STAMP_HOST, names::TO_POD_OWED];
const STAND_INS: [&str; 2] = [names::FROM_POD_LAST, names::TO_POD_LAST];

/// Has the kernel verify the programs of an object; with `stand_ins` also those that only
/// [`Attacher::bridge`](super::super::Attacher::bridge) needs, beside the others.
///
/// # Errors
/// The object lacks a program, or the kernel refuses one.
pub(super) fn programs(ebpf: &mut Ebpf, stand_ins: bool) -> Result<(), PartError> {
    for name in NEEDED {
        part::classifier(ebpf, name)?;
    }
    let (mut first, mut beside) = (Vec::new(), Vec::new());
    for (name, program) in ebpf.programs_mut() {
        let is = |one: &&str| *one == name;
        if let Some(name) = NEEDED.into_iter().chain(OTHERS).find(is) {
            first.push((name, program));
        } else if let Some(name) = STAND_INS.into_iter().find(is) {
            beside.push((name, program));
        }
    }
    thread::scope(|scope| {
        if stand_ins {
            scope.spawn(|| {
                // Without them every wait is for a link.
                if let Err(error) = load_each(beside) {
                    tracing::warn!("{error}");
                }
            });
        }
        load_each(first)
    })
}

fn load_each(programs: Vec<(&'static str, &mut Program)>) -> Result<(), PartError> {
    for (name, program) in programs {
        let program: Result<&mut SchedClassifier, _> = program.try_into();
        program
            .and_then(SchedClassifier::load)
            .map_err(|source| PartError::Program { name, source })?;
    }
    Ok(())
}
