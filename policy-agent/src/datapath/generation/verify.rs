//! Has the kernel verify the programs of an object, which takes it a second or more.
//!
//! Must not know what programs do. Invariant: what a generation can do without does not keep it from
//! being loaded.

use std::{
    panic,
    sync::{Mutex, PoisonError},
    thread,
};

use aya::{
    Ebpf,
    programs::{Program, SchedClassifier},
};
use policy_common::names;

use super::super::kernel::part::{self, PartError};

/// Programs that every generation needs, and what it can do without; what takes longest goes first.
const NEEDED: [&str; 3] = [names::FROM_POD, names::TO_POD, names::JIFFIES];
const OTHERS: [&str; 4] = [
    names::TO_POD_OWED,
    names::EXIT,
    names::CLEAR_STAMP,
    names::STAMP_HOST,
];
const STAND_INS: [&str; 2] = [names::FROM_POD_LAST, names::TO_POD_LAST];

/// One program that is to be verified.
struct Job<'a> {
    name: &'static str,
    program: &'a mut Program,
    is_stand_in: bool,
}

/// Has the kernel verify the programs of an object, two at a time: one takes a processor for as long
/// as it lasts. Those that only [`Attacher::bridge`](super::super::Attacher::bridge) needs come last,
/// and only while `stand_ins` says that they are wanted.
///
/// # Errors
/// The object lacks a program, or the kernel refuses one.
pub(super) fn programs(
    ebpf: &mut Ebpf,
    stand_ins: impl Fn() -> bool + Sync,
) -> Result<(), PartError> {
    for name in NEEDED {
        part::classifier(ebpf, name)?;
    }
    let order = NEEDED.into_iter().chain(OTHERS).chain(STAND_INS);
    let order: Vec<&'static str> = order.collect();
    let jobs = ebpf.programs_mut().filter_map(|(name, program)| {
        let place = order.iter().position(|one| *one == name)?;
        Some((place, program))
    });
    let mut jobs: Vec<_> = jobs.collect();
    jobs.sort_by_key(|(place, _)| *place);
    let jobs = jobs.into_iter().filter_map(|(place, program)| {
        let name = *order.get(place)?;
        Some(Job {
            name,
            program,
            is_stand_in: STAND_INS.contains(&name),
        })
    });
    let queue = Mutex::new(jobs.collect::<Vec<_>>().into_iter());
    let work = || -> Result<(), PartError> {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(job) = next.filter(|job| !job.is_stand_in || stand_ins()) else {
                return Ok(());
            };
            match load(job.name, job.program) {
                // Without them every wait is for a link.
                Err(error) if job.is_stand_in => tracing::warn!("{error}"),
                result => result?,
            }
        }
    };
    thread::scope(|scope| {
        // Without a second thread the first one does all.
        let beside = thread::Builder::new().spawn_scoped(scope, work);
        let own = work();
        let other = beside.map_or(Ok(Ok(())), thread::ScopedJoinHandle::join);
        own.and(other.unwrap_or_else(|cause| panic::resume_unwind(cause)))
    })
}

fn load(name: &'static str, program: &mut Program) -> Result<(), PartError> {
    let program: Result<&mut SchedClassifier, _> = program.try_into();
    program
        .and_then(SchedClassifier::load)
        .map_err(|source| PartError::Program { name, source })
}
