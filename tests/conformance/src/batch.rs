//! Runs many cases, several at once, and reports them in the order of their files.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use super::{
    case::Case,
    kernel::Kernel,
    pool::Pool,
    report::{CaseReport, Summary},
    run::run,
    wire::Wire,
};

/// How verdicts are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// Packets run through loaded programs.
    #[default]
    Kernel,
    /// Connections between network namespaces.
    Wire,
}

impl Way {
    fn pool(self) -> Pool {
        match self {
            Self::Kernel => Pool::with_test_seam(),
            Self::Wire => Pool::default(),
        }
    }
}

/// What to run, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How verdicts are found.
    pub way: Way,
    /// Only cases whose id or one of whose tags contains this.
    pub filter: Option<String>,
    /// Begin no further case after one that failed.
    pub fail_fast: bool,
}

/// Runs one case.
pub fn run_case(case: &Case, way: Way) -> CaseReport {
    run_with(case, way, &way.pool())
}

fn run_with(case: &Case, way: Way, pool: &Pool) -> CaseReport {
    match way {
        Way::Kernel => run(case, |cluster| Kernel::new(cluster, pool)),
        Way::Wire => run(case, |cluster| Wire::new(cluster, pool)),
    }
}

/// Runs the cases of the files; `on_case` gets each report, in the order of the files.
pub fn run_files(
    files: &[PathBuf],
    options: &Options,
    mut on_case: impl FnMut(&CaseReport),
) -> Summary {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let pool = options.way.pool();
    let mut summary = Summary::default();
    thread::scope(|scope| {
        let (sender, reports) = mpsc::channel();
        let workers = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..workers {
            let (sender, next, stop, pool) = (sender.clone(), &next, &stop, &pool);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = files.get(index).filter(|_| !stop.load(Ordering::Relaxed))
                    else {
                        break;
                    };
                    let report = run_file(file, options, pool);
                    let failed = report.as_ref().is_some_and(|report| !report.passed());
                    stop.fetch_or(failed && options.fail_fast, Ordering::Relaxed);
                    if sender.send((index, report)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut due = 0;
        for (index, report) in reports {
            early.insert(index, report);
            while let Some(report) = early.remove(&due) {
                due += 1;
                if let Some(report) = report {
                    summary.add(&report);
                    on_case(&report);
                }
            }
        }
    });
    summary
}

/// `None` for a case that the filter leaves out.
fn run_file(file: &Path, options: &Options, pool: &Pool) -> Option<CaseReport> {
    let case = match Case::read(file) {
        Ok(case) => case,
        Err(error) => {
            let report = CaseReport::broken(file.display().to_string(), format!("{error:#}"));
            return Some(report);
        }
    };
    let wanted = options.filter.as_ref().is_none_or(|filter| {
        case.id.contains(filter) || case.tags.iter().any(|tag| tag.contains(filter))
    });
    wanted.then(|| run_with(&case, options.way, pool))
}
