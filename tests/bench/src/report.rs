//! The figures of one run, and their form as JSON.
//!
//! ```json
//! {
//!   "machine": { "kernel": "6.18.44", "cpu": "…", "cpus": 2, "memory_mib": 7943,
//!                "virtual_machine": true, "date": "2026-11-23" },
//!   "figures": [
//!     { "group": "datapath", "case": "established",
//!       "parameters": { "family": "v4", "direction": "ingress", "flows": "1" },
//!       "unit": "ns", "median": 20.1, "min": 19.2, "samples": 31,
//!       "bar": { "at_most": 25.0 } }
//!   ]
//! }
//! ```
//!
//! `min` and `p99` are missing where they mean nothing, `bar` where nobody set one. Invariant: the
//! names of a figure – group, case, parameters in their order – are its identity in tables and
//! plots.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeMap as _};

use crate::{machine::Machine, options::Options, progress::Progress, summary::Summary};

/// The figures of one run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Where they came about.
    pub machine: Machine,
    /// In the order in which they were measured.
    pub figures: Vec<Figure>,
    #[serde(skip)]
    progress: Progress,
}

/// One measured number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The group that measured it.
    pub group: String,
    /// What was measured.
    pub case: String,
    /// Under which circumstances.
    pub parameters: Parameters,
    /// Of `median`, `min`, `p99` and the bar.
    pub unit: String,
    /// The figure.
    pub median: f64,
    /// The lowest sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// 99 of 100 samples are below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    /// How many samples it stands on.
    pub samples: usize,
    /// What it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bar: Option<Bar>,
}

/// What a figure should be, in its unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bar {
    /// Not more.
    AtMost(f64),
    /// Not less.
    AtLeast(f64),
}

/// Names and values, in an order that means something to readers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl Report {
    /// Without figures.
    pub fn new(machine: Machine) -> Self {
        Self {
            machine,
            ..Self::default()
        }
    }

    /// Only the figures that the options want.
    #[must_use]
    pub fn filtered(mut self, options: &Options) -> Self {
        let wanted = |figure: &Figure| options.wants(&figure.group, &figure.case);
        self.figures.retain(wanted);
        self
    }

    /// So many more figures will come: for the progress bar.
    pub fn expect(&mut self, figures: usize) {
        self.progress.expect(figures);
    }

    /// Shows what is being done until the next figure.
    pub fn doing(&mut self, what: &str) {
        self.progress.doing(what);
    }

    /// Takes a figure.
    pub fn add(&mut self, figure: Figure) {
        self.progress.done(&figure.name());
        self.figures.push(figure);
    }

    /// Takes the progress bar away.
    pub fn finish(&mut self) {
        self.progress.finish();
    }
}

impl Figure {
    /// Of samples: their median, their lowest, and p99 where there are enough.
    pub fn of(group: &str, case: &str, unit: &str, summary: Summary) -> Self {
        Self {
            group: group.to_owned(),
            case: case.to_owned(),
            parameters: Parameters::default(),
            unit: unit.to_owned(),
            median: summary.median,
            min: Some(summary.min),
            p99: summary.p99,
            samples: summary.samples,
            bar: None,
        }
    }

    /// A number that was read or computed once.
    pub fn single(group: &str, case: &str, unit: &str, value: f64) -> Self {
        Self {
            group: group.to_owned(),
            case: case.to_owned(),
            parameters: Parameters::default(),
            unit: unit.to_owned(),
            median: value,
            min: None,
            p99: None,
            samples: 1,
            bar: None,
        }
    }

    /// With one more parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.parameters.push(name, value);
        self
    }

    /// With these parameters after its own.
    #[must_use]
    pub fn with_all(mut self, parameters: &Parameters) -> Self {
        self.parameters.0.extend_from_slice(&parameters.0);
        self
    }

    /// With an upper bound, if there is one.
    #[must_use]
    pub fn at_most(mut self, limit: impl Into<Option<f64>>) -> Self {
        self.bar = limit.into().map(Bar::AtMost);
        self
    }

    /// With a lower bound, if there is one.
    #[must_use]
    pub fn at_least(mut self, limit: impl Into<Option<f64>>) -> Self {
        self.bar = limit.into().map(Bar::AtLeast);
        self
    }

    /// Whether it is what it should be; `None` without a bar.
    pub fn met(&self) -> Option<bool> {
        self.bar.map(|bar| bar.holds(self.median))
    }

    /// `group/case name=value …`.
    pub fn name(&self) -> String {
        let parameters = self.parameters.to_string();
        let gap = if parameters.is_empty() { "" } else { " " };
        format!("{}/{}{gap}{parameters}", self.group, self.case)
    }
}

impl Bar {
    /// Whether a value keeps to it.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(formatter, "≤ {limit}"),
            Self::AtLeast(limit) => write!(formatter, "≥ {limit}"),
        }
    }
}

impl Parameters {
    /// Adds one at the end.
    pub fn push(&mut self, name: &str, value: impl fmt::Display) {
        self.0.push((name.to_owned(), value.to_string()));
    }

    /// The value under a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(other, _)| other == name)?;
        Some(&found.1)
    }

    /// Names and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (name, value)) in self.iter().enumerate() {
            let gap = if number == 0 { "" } else { " " };
            write!(formatter, "{gap}{name}={value}")?;
        }
        Ok(())
    }
}

impl Serialize for Parameters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Ordered;

        impl<'de> serde::de::Visitor<'de> for Ordered {
            type Value = Parameters;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of strings")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Parameters, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Parameters(entries))
            }
        }

        deserializer.deserialize_map(Ordered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_figures_as_they_are_with_parameters_in_order() {
        let summary = Summary::of(&[20.0, 21.0, 19.0]).unwrap();
        let mut report = Report::default();
        report.add(
            Figure::of("datapath", "established", "ns", summary)
                .with("peers", 16_000)
                .with("family", "v6")
                .at_most(30.0),
        );
        report.add(Figure::single("programs", "instructions", "count", 900.0));
        let json = serde_json::to_string(&report).unwrap();
        let read: Report = serde_json::from_str(&json).unwrap();
        assert_eq!(read.figures, report.figures);
        assert!(
            json.contains(r#"{"peers":"16000","family":"v6"}"#),
            "{json}"
        );
        assert!(json.contains(r#""bar":{"at_most":30.0}"#), "{json}");
        assert!(!json.contains("null"), "{json}");
    }

    #[test]
    fn a_bar_is_met_on_its_own_side() {
        let figure = Figure::single("wire", "rr", "ratio", 0.95);
        assert_eq!(figure.clone().met(), None);
        assert_eq!(figure.clone().at_least(0.95).met(), Some(true));
        assert_eq!(figure.clone().at_least(0.96).met(), Some(false));
        assert_eq!(figure.clone().at_most(0.95).met(), Some(true));
        assert_eq!(figure.at_most(0.94).met(), Some(false));
    }
}
