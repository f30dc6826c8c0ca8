//! Two builds of the project, measured side by side.
//!
//! Each is a bench program of its own that runs in a process of its own, case by case; within a
//! round they take turns as A B B A, and the next round begins with the other, so that a machine
//! that becomes slower in the meantime does so for both. `rounds` has the runs, `ratio` what they
//! say, `target` what they should say. Invariant: a row is judged by its ratio and by how far the
//! baseline is from itself in the same rounds; what one side no longer measures is no row that is
//! met.

mod ratio;
mod rounds;
mod show;
mod target;

use std::path::PathBuf;

use anyhow::{Result, ensure};

use self::{ratio::Verdict, rounds::Program, target::Targets};
use crate::{options::Options, run::cases};

/// What is compared.
#[derive(Clone, Debug)]
pub struct Against {
    /// The bench program of the other build.
    pub program: PathBuf,
    /// What the ratios are to be.
    pub targets: PathBuf,
    /// Rounds of each case; each has two runs of both programs.
    pub rounds: usize,
}

/// Compares this program with another and shows every row as soon as it is known, or why a case has
/// none. Are all targets met, and did no case fail?
///
/// # Errors
/// A program is not there; the targets cannot be read; no case was compared.
pub fn compare(options: &Options, against: &Against) -> Result<bool> {
    ensure!(against.rounds > 0, "no rounds");
    let targets = Targets::read(&against.targets)?;
    let ours = Program::own()?;
    let baseline = Program::at(against.program.clone());
    let mut rows = Vec::new();
    let mut failed = 0;
    println!("{}", show::HEAD);
    for (group, case) in cases().filter(|(group, case)| options.wants(group, case)) {
        let measured = match rounds::of_case(&ours, &baseline, group, case, against.rounds) {
            Ok(measured) => measured,
            Err(error) => {
                // The other cases are compared all the same.
                println!("{group}/{case}: {error:#}");
                failed += 1;
                continue;
            }
        };
        for row in ratio::rows(&measured, &targets) {
            println!("{row}");
            rows.push(row);
        }
    }
    ensure!(!rows.is_empty(), "nothing was compared");
    let count = |verdict| {
        let rows = rows.iter().filter(|row| row.verdict() == Some(verdict));
        rows.count()
    };
    let (met, missed) = (count(Verdict::Met), count(Verdict::Missed));
    println!("\n{met} of {} targets met", met + missed);
    let unjudged = count(Verdict::NoBaseline);
    if unjudged > 0 {
        println!("{unjudged} rows not judged: the baseline does not have them");
    }
    if failed > 0 {
        println!("{failed} cases failed");
    }
    Ok(missed == 0 && failed == 0)
}
