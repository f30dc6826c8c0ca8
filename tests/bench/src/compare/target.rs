//! What rows should be, from one file.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// What a row should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    /// Ours to the baseline's.
    RatioAtMost(f64),
    /// Ours to the baseline's, where more is better.
    RatioAtLeast(f64),
    /// In the row's unit.
    AtMost(f64),
    /// In the row's unit.
    AtLeast(f64),
}

/// The targets of all rows.
#[derive(Debug, Default)]
pub(super) struct Targets(Vec<(String, Target)>);

/// An entry of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    rows: String,
    ratio_at_most: Option<f64>,
    ratio_at_least: Option<f64>,
    at_most: Option<f64>,
    at_least: Option<f64>,
}

impl Targets {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("targets in {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let entries: Vec<Entry> = serde_yaml_ng::from_str(text)?;
        let targets = entries.into_iter().map(Entry::target);
        Ok(Self(targets.collect::<Result<_>>()?))
    }

    /// The target of a row: of the entry with the longest beginning of its name.
    pub(super) fn of(&self, name: &str) -> Option<Target> {
        let entries = self.0.iter().filter(|(rows, _)| name.starts_with(rows));
        entries
            .max_by_key(|(rows, _)| rows.len())
            .map(|(_, target)| *target)
    }
}

impl Entry {
    fn target(self) -> Result<(String, Target)> {
        let targets: Vec<_> = [
            self.ratio_at_most.map(Target::RatioAtMost),
            self.ratio_at_least.map(Target::RatioAtLeast),
            self.at_most.map(Target::AtMost),
            self.at_least.map(Target::AtLeast),
        ]
        .into_iter()
        .flatten()
        .collect();
        ensure!(
            targets.len() == 1,
            "{}: one target, not {}",
            self.rows,
            targets.len()
        );
        Ok((self.rows, targets[0]))
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, Target); N]> for Targets {
    fn from(targets: [(&str, Target); N]) -> Self {
        Self(
            targets
                .map(|(rows, target)| (rows.to_owned(), target))
                .into(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_beginning_of_a_rows_name_decides() {
        let text =
            "- {rows: datapath/, ratio_at_most: 1.03}\n- {rows: datapath/free, at_most: 5}\n";
        let targets = Targets::parse(text).unwrap();
        assert_eq!(
            targets.of("datapath/denied"),
            Some(Target::RatioAtMost(1.03))
        );
        assert_eq!(
            targets.of("datapath/free family=v4"),
            Some(Target::AtMost(5.0))
        );
        assert_eq!(targets.of("wire/udp"), None);
    }

    #[test]
    fn an_entry_has_one_target() {
        assert!(Targets::parse("- {rows: a}").is_err());
        assert!(Targets::parse("- {rows: a, at_most: 1, at_least: 0}").is_err());
        assert!(Targets::parse("- {rows: a, most: 1}").is_err());
    }

    #[test]
    fn the_file_of_this_project_can_be_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets.yaml");
        let targets = Targets::read(&path).unwrap();
        assert!(
            targets
                .of("datapath/free family=v4 direction=ingress")
                .is_some()
        );
    }
}
