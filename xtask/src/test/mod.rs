//! `test`: every test there is, on this kernel and on the others, and one total at the end.
//!
//! Everything is built once; then the test programs run in two lanes side by side (`lane`), and
//! what each printed is shown whole when it has ended (`job`). Invariant: whatever did not visibly
//! pass counts as failed.

mod build;
mod job;
mod lane;
pub(crate) mod soak;

use std::{thread, time::Instant};

use anyhow::{Result, ensure};

use self::{
    build::Selection,
    job::{Job, Report},
    lane::Lanes,
};
use crate::{
    build_ebpf,
    root::Root,
    setup::{self, Need},
    tally::Tally,
    test_vm,
    workspace::Workspace,
};

/// Run all tests: of every crate, in network namespaces (needs root), and on other kernels
///
/// Everything is built first. Then two lanes run side by side: in one, a suite at a time, whatever
/// makes network namespaces and waits for packets; in the other what only computes, and the kernels
/// of `test-vm`. What a suite printed is shown when it has ended; the last line is the total,
/// `N passed, N failed`. A suite that dies, or ends without a result, counts as failed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only what needs neither root nor a kernel: the crates' own tests, the resolver's laws, the
    /// decisions on the host, the fuzz target's kept inputs
    #[arg(long)]
    quick: bool,
    /// Only test programs whose `package target` contains this, and no kernels
    #[arg(long, value_name = "NAME")]
    suite: Option<String>,
}

impl Args {
    /// Every test there is.
    pub(crate) const ALL: Self = Self {
        quick: false,
        suite: None,
    };

    fn wants(&self, job: &Job) -> bool {
        self.suite
            .as_ref()
            .is_none_or(|part| job.name.contains(part.as_str()))
    }
}

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let began = Instant::now();
    let (jobs, kernels) = if args.quick {
        let mut jobs = build::test_programs(workspace, Selection::Host)?;
        jobs.retain(|job| args.wants(job));
        (jobs, false)
    } else {
        setup::ensure(&[Need::Run, Need::TestVm])?;
        let root =
            Root::acquire("run the tests that make network namespaces and load BPF programs")?;
        build_ebpf::release(workspace)?;
        let mut jobs = build::test_programs(workspace, Selection::All(root))?;
        jobs.push(build::documentation(workspace));
        jobs.retain(|job| args.wants(job));
        (jobs, args.suite.is_none())
    };
    ensure!(!jobs.is_empty(), "no test program has such a name");
    eprintln!("built in {:.0} s", began.elapsed().as_secs_f32());

    let total = side_by_side(Lanes::of(jobs), || {
        if !kernels {
            return Tally::default();
        }
        test_vm::all(workspace).unwrap_or_else(|error| {
            println!("kernels: FAILED: {error:#}");
            Tally::ONE_FAILURE
        })
    });
    eprintln!("{:.0} s in all", began.elapsed().as_secs_f32());
    println!("{total}");
    ensure!(total.failed == 0, "not all tests passed");
    Ok(())
}

/// Runs both lanes; `last` follows the jobs of the second.
fn side_by_side(lanes: Lanes, last: impl FnOnce() -> Tally + Send) -> Tally {
    let in_turn = |jobs: Vec<Job>| {
        let mut tally = Tally::default();
        for job in jobs {
            eprintln!("begins: {}", job.name);
            let report = Report::of(job);
            // One call, so that the lanes' lines do not mix.
            print!("{report}");
            tally += report.tally;
        }
        tally
    };
    thread::scope(|scope| {
        let computing = scope.spawn(|| {
            let mut tally = in_turn(lanes.computing);
            tally += last();
            tally
        });
        let mut total = in_turn(lanes.waiting);
        total += computing.join().unwrap_or_else(|_| {
            println!("a lane of tests died: FAILED");
            Tally::ONE_FAILURE
        });
        total
    })
}
