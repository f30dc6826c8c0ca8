//! On which processor a thread runs its test runs: programs remember per processor.

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// The processors that this thread may use.
pub(crate) fn all() -> Vec<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    (0..CpuSet::count())
        .filter(|cpu| allowed.is_set(*cpu).unwrap())
        .collect()
}

/// Has this thread run on one processor from now on.
pub(crate) fn stay_on(processor: usize) {
    let mut one = CpuSet::new();
    one.set(processor).unwrap();
    sched_setaffinity(Pid::from_raw(0), &one).unwrap();
}

/// Has this thread run on one processor from now on, whichever.
pub(crate) fn stay_on_one() {
    stay_on(all()[0]);
}
