//! The comparison as lines of a table.

use std::fmt;

use super::{
    ratio::{Row, Verdict},
    target::Target,
};
use crate::table::number;

/// Above the rows.
pub(super) const HEAD: &str = "row                                                                       ours    baseline   ratio  spread  target";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
        let ratio = |ratio: Option<f64>| {
            ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.3}"))
        };
        let name = format!("{} [{}]", self.name, self.unit);
        write!(
            f,
            "{name:<66} {:>11} {:>11} {:>7} {:>7}",
            value(self.ours),
            value(self.baseline),
            ratio(self.ratio),
            ratio(self.spread)
        )?;
        if let Some((target, verdict)) = self.target.zip(self.verdict()) {
            let verdict = match verdict {
                Verdict::Met => "met",
                Verdict::Missed => "MISSED",
                Verdict::NoBaseline => "no baseline",
            };
            write!(f, "  {target} {verdict}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioAtMost(limit) => write!(f, "ratio ≤ {limit}"),
            Self::RatioAtLeast(limit) => write!(f, "ratio ≥ {limit}"),
            Self::AtMost(limit) => write!(f, "≤ {limit}"),
            Self::AtLeast(limit) => write!(f, "≥ {limit}"),
        }
    }
}
