//! Runs of both programs in turn.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::report::{Figure, Report};

/// A bench program.
pub(super) struct Program {
    path: PathBuf,
}

impl Program {
    /// This one.
    pub(super) fn own() -> Result<Self> {
        let path = std::env::current_exe().context("finding this program's own path")?;
        Ok(Self { path })
    }

    /// Another one.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The figures of one case, or why there are none.
    fn figures(&self, group: &str, case: &str) -> Result<Vec<Figure>> {
        let file = tempfile::NamedTempFile::new().context("making a file for figures")?;
        let output = Command::new(&self.path)
            .args(["--quick", "--filter", &format!("{group}/{case}"), "--json"])
            .arg(file.path())
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting {}", self.path.display()))?;
        if !output.status.success() {
            bail!(
                "{} {group}/{case}: {}\n{}",
                self.path.display(),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim_end()
            );
        }
        let text = std::fs::read_to_string(file.path()).context("reading the figures")?;
        let report: Report = serde_json::from_str(&text).context("reading the figures")?;
        let mut figures = report.figures;
        // The filter takes every case whose name contains it.
        figures.retain(|figure| figure.group == group && figure.case == case);
        Ok(figures)
    }
}

/// One row of both programs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Measured {
    pub(super) unit: String,
    /// A pair of each round in the order in which they ran.
    pub(super) ours: Vec<[f64; 2]>,
    pub(super) baseline: Vec<[f64; 2]>,
}

/// The rows of a case by their names.
pub(super) type Rows = BTreeMap<String, Measured>;

/// Runs a case in both programs. The baseline may not have the case; then its side stays empty.
pub(super) fn of_case(
    ours: &Program,
    baseline: &Program,
    group: &str,
    case: &str,
    rounds: usize,
) -> Result<Rows> {
    let mut rows = Rows::new();
    // A program that does not know a case says so by measuring nothing, and fails.
    let is_known = baseline
        .figures(group, case)
        .is_ok_and(|found| !found.is_empty());
    for round in 0..rounds {
        let mut of_ours = Vec::new();
        let mut of_baseline = Vec::new();
        for ours_now in order(round) {
            if ours_now {
                of_ours.push(ours.figures(group, case)?);
            } else if is_known {
                of_baseline.push(baseline.figures(group, case)?);
            }
        }
        take(&mut rows, &of_ours, |row| &mut row.ours);
        take(&mut rows, &of_baseline, |row| &mut row.baseline);
    }
    Ok(rows)
}

/// Whose turn it is: A B B A, then B A A B.
fn order(round: usize) -> [bool; 4] {
    let begins = round.is_multiple_of(2);
    [begins, !begins, !begins, begins]
}

/// Adds the pair of one round to each row that both runs have.
fn take(rows: &mut Rows, runs: &[Vec<Figure>], side: fn(&mut Measured) -> &mut Vec<[f64; 2]>) {
    let [first, second] = runs else { return };
    for figure in first {
        let name = figure.name();
        if let Some(again) = second.iter().find(|other| other.name() == name) {
            let row = rows.entry(name).or_default();
            row.unit.clone_from(&figure.unit);
            side(row).push([figure.median, again.median]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_side_is_always_first_and_each_runs_twice() {
        assert_eq!(order(0), [true, false, false, true]);
        assert_eq!(order(1), [false, true, true, false]);
    }

    #[test]
    fn a_row_that_one_run_lacks_is_not_taken() {
        let figure = |case: &str, value| Figure::single("group", case, "ns", value);
        let mut rows = Rows::new();
        let runs = [
            vec![figure("both", 1.0), figure("one", 2.0)],
            vec![figure("both", 3.0)],
        ];
        take(&mut rows, &runs, |row| &mut row.ours);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows["group/both"].ours, [[1.0, 3.0]]);
        assert_eq!(rows["group/both"].unit, "ns");
    }
}
