//! What pairs of runs say: the ratio of the two builds, and the baseline's ratio to itself.

use super::{
    rounds::{Measured, Rows},
    target::{Target, Targets},
};
use crate::summary::Summary;

/// A row of the comparison.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) unit: String,
    /// The medians of all runs; `None` where a side has no such row.
    pub(super) ours: Option<f64>,
    pub(super) baseline: Option<f64>,
    /// The median of the rounds' ratios of our pair to the baseline's.
    pub(super) ratio: Option<f64>,
    /// The median over the rounds of the larger run of the baseline's pair to the smaller: 1 when
    /// it repeats itself exactly, never less.
    pub(super) spread: Option<f64>,
    pub(super) target: Option<Target>,
}

/// What became of a row's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Reached, or missed by no more than the spread.
    Met,
    /// Missed by more.
    Missed,
    /// A ratio is asked for, and the baseline does not have the row.
    NoBaseline,
}

impl Row {
    /// What becomes of the target, where there is one. A row that we no longer have misses any.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        let target = self.target?;
        let Some(ours) = self.ours else {
            return Some(Verdict::Missed);
        };
        let spread = self.spread.unwrap_or(1.0);
        let is_met = match (target, self.ratio) {
            (Target::AtMost(limit), _) => ours <= limit * spread,
            (Target::AtLeast(limit), _) => ours >= limit / spread,
            (Target::RatioAtMost(limit), Some(ratio)) => ratio <= limit + (spread - 1.0),
            (Target::RatioAtLeast(limit), Some(ratio)) => ratio >= limit - (spread - 1.0),
            (Target::RatioAtMost(_) | Target::RatioAtLeast(_), None) => {
                return Some(Verdict::NoBaseline);
            }
        };
        Some(if is_met {
            Verdict::Met
        } else {
            Verdict::Missed
        })
    }
}

/// The rows of a case in the order of their names.
pub(super) fn rows(measured: &Rows, targets: &Targets) -> Vec<Row> {
    let row = |(name, measured): (&String, &Measured)| Row {
        name: name.clone(),
        unit: measured.unit.clone(),
        ours: median(measured.ours.as_flattened().to_vec()),
        baseline: median(measured.baseline.as_flattened().to_vec()),
        ratio: ratio(measured).filter(|_| measured.unit != SIGNED),
        spread: spread(&measured.baseline).filter(|_| measured.unit != SIGNED),
        target: targets.of(name),
    };
    measured.iter().map(row).collect()
}

/// The unit of differences: around zero, so that one divided by another says nothing.
const SIGNED: &str = "%";

fn ratio(measured: &Measured) -> Option<f64> {
    let pairs = measured.ours.iter().zip(&measured.baseline);
    median(
        pairs
            .map(|(ours, baseline)| (ours[0] + ours[1]) / (baseline[0] + baseline[1]))
            .filter(|ratio| ratio.is_finite())
            .collect(),
    )
}

fn spread(baseline: &[[f64; 2]]) -> Option<f64> {
    median(
        baseline
            .iter()
            .map(|[one, other]| (one / other).max(other / one))
            .filter(|ratio| ratio.is_finite())
            .collect(),
    )
}

fn median(values: Vec<f64>) -> Option<f64> {
    Summary::of(&values).map(|summary| summary.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: &[[f64; 2]], baseline: &[[f64; 2]], target: Target) -> Row {
        let measured = Measured {
            unit: "ns".to_owned(),
            ours: ours.to_vec(),
            baseline: baseline.to_vec(),
        };
        let targets = Targets::from([("group/", target)]);
        let rows = Rows::from([("group/case".to_owned(), measured)]);
        self::rows(&rows, &targets).remove(0)
    }

    const TARGET: Target = Target::RatioAtMost(1.03);

    #[test]
    fn a_round_that_was_disturbed_counts_once() {
        let baseline = [[100.0, 100.0]; 3];
        let row = row(
            &[[101.0, 101.0], [102.0, 102.0], [900.0, 900.0]],
            &baseline,
            TARGET,
        );
        assert_eq!(row.ratio, Some(1.02));
        assert_eq!(row.spread, Some(1.0));
        assert_eq!(row.verdict(), Some(Verdict::Met));
    }

    #[test]
    fn a_target_is_missed_only_by_more_than_the_baseline_misses_itself() {
        let slower = [[105.0, 105.0]; 3];
        let still = row(&slower, &[[100.0, 100.0]; 3], TARGET);
        assert_eq!(still.verdict(), Some(Verdict::Missed));
        // The baseline is 4 % from itself: nothing can be said about 2 %.
        let restless = [[98.0, 102.0], [102.0, 98.0], [98.0, 102.0]];
        let row = row(&slower, &restless, TARGET);
        assert!(row.spread.is_some_and(|spread| spread > 1.04));
        assert_eq!(row.verdict(), Some(Verdict::Met));
    }

    #[test]
    fn a_lost_row_misses_its_target_and_a_new_one_is_not_judged_by_a_ratio() {
        let verdict = |ours: &[_], baseline: &[_], target| row(ours, baseline, target).verdict();
        assert_eq!(verdict(&[], &[[1.0, 1.0]], TARGET), Some(Verdict::Missed));
        let new = verdict(&[[1.0, 1.0]], &[], TARGET);
        assert_eq!(new, Some(Verdict::NoBaseline));
        for target in [Target::AtMost(8.0), Target::AtLeast(10.0)] {
            assert_eq!(verdict(&[[9.0, 9.0]], &[], target), Some(Verdict::Missed));
        }
    }

    #[test]
    fn more_may_be_better() {
        let target = Target::RatioAtLeast(0.97);
        let verdict = |ours| row(&[[ours, ours]], &[[100.0, 100.0]], target).verdict();
        assert_eq!(verdict(98.0), Some(Verdict::Met));
        assert_eq!(verdict(90.0), Some(Verdict::Missed));
    }

    #[test]
    fn of_differences_there_is_no_ratio() {
        let measured = Measured {
            unit: "%".to_owned(),
            ours: vec![[2.0, 3.0]],
            baseline: vec![[-0.1, 0.2]],
        };
        let targets = Targets::from([("group/", Target::AtMost(15.0))]);
        let row = rows(&Rows::from([("group/case".to_owned(), measured)]), &targets).remove(0);
        assert_eq!((row.ratio, row.spread), (None, None));
        assert_eq!(row.verdict(), Some(Verdict::Met));
    }
}
