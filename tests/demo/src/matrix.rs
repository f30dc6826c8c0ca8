//! Who reaches whom, found out by real connections, all at the same time.
//!
//! Owns the probing and the table. A connection counts when words came back over it; what nobody
//! answered in time was denied.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use policy_harness::traffic::{Outcome, Protocol, probe};

use crate::{
    cluster::{Cluster, PORTS, Party},
    expectation::Expectation,
    paint::Paint,
};

/// Longer than the kernel takes to try a lost SYN again, twice.
const PATIENCE: Duration = Duration::from_millis(3_500);
/// The widths of a source's name, of what stands under a port after its first character, and of a
/// target: a table as wide as the narrowest terminals.
const NAME: usize = 17;
const WORD: usize = 4;
const COLUMN: usize = 13;

/// What came of every attempt.
#[derive(Debug)]
pub(crate) struct Matrix {
    targets: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    source: String,
    cells: Vec<Cell>,
}

/// A source and a target: one word per port as in [`Expectation`].
type Cell = Vec<String>;

impl Matrix {
    /// Connects from every source to every target.
    pub(crate) fn probe(cluster: &Cluster) -> Result<Self> {
        let sources = cluster.sources()?;
        let targets = cluster.targets()?;
        let rows = thread::scope(|scope| -> Result<_> {
            let attempts: Vec<Vec<_>> = sources
                .iter()
                .map(|from| {
                    let begin = |to| Attempts::begin(scope, from, to);
                    targets.iter().map(begin).collect()
                })
                .collect();
            let rows = sources.iter().zip(attempts).map(|(from, attempts)| {
                let cells = attempts.into_iter().map(Attempts::end);
                Ok(Row {
                    source: from.name.clone(),
                    cells: cells.collect::<Result<_>>()?,
                })
            });
            rows.collect::<Result<_>>()
        })?;
        Ok(Self {
            targets: targets.into_iter().map(|target| target.name).collect(),
            rows,
        })
    }

    /// How many connections were tried.
    pub(crate) fn attempts(&self) -> usize {
        let words = self.rows.iter().flat_map(|row| row.cells.iter().flatten());
        words.filter(|word| *word != ".").map(String::len).sum()
    }

    /// What is not as expected, a sentence each.
    pub(crate) fn surprises(&self, expected: Expectation) -> Vec<String> {
        let mut surprises = Vec::new();
        for row in &self.rows {
            for (index, (cell, target)) in row.cells.iter().zip(&self.targets).enumerate() {
                let want = expected.cell(&row.source, index).unwrap_or_default();
                if *cell != want {
                    surprises.push(format!(
                        "{} to {target}: expected \"{}\", found \"{}\" (ports {PORTS:?})",
                        row.source,
                        want.join(" "),
                        cell.join(" ")
                    ));
                }
            }
        }
        surprises
    }

    /// The table as text; what differs from `before` has a star.
    pub(crate) fn drawn(&self, paint: Paint, before: Option<&Self>) -> String {
        // Names are long: the namespace above, the pod below.
        let names = self.targets.iter().map(|name| match name.split_once('/') {
            Some((namespace, pod)) => (format!("{namespace}/"), pod),
            None => (name.clone(), ""),
        });
        let (upper, lower): (Vec<_>, Vec<_>) = names
            .map(|(upper, lower)| (format!("{upper:COLUMN$}"), format!("{lower:COLUMN$}")))
            .unzip();
        let ports: String = PORTS.iter().map(|port| format!(":{port:<WORD$}")).collect();
        let ports = format!("{ports:COLUMN$}").repeat(self.targets.len());
        let mut table = line("to:", &upper.concat())
            + &line("from:", &lower.concat())
            + &line("", &paint.quiet(ports.trim_end()));
        for (index, row) in self.rows.iter().enumerate() {
            let earlier = before.and_then(|before| before.rows.get(index));
            table += &line(&row.source, &row.drawn(paint, earlier));
        }
        table
    }
}

fn line(name: &str, cells: &str) -> String {
    format!("  {name:NAME$}{}\n", cells.trim_end())
}

impl Row {
    fn drawn(&self, paint: Paint, before: Option<&Self>) -> String {
        let cells = self.cells.iter().enumerate().map(|(column, cell)| {
            let earlier = before.and_then(|row| row.cells.get(column));
            let words = cell.iter().enumerate().map(|(port, word)| {
                let was = earlier.and_then(|cell| cell.get(port));
                shown(paint, word, was.is_some_and(|was| was != word))
            });
            format!("{}   ", words.collect::<String>())
        });
        cells.collect()
    }
}

/// One word of a cell, [`WORD`] + 1 characters wide.
fn shown(paint: Paint, word: &str, is_changed: bool) -> String {
    let mark = if is_changed { "*" } else { " " };
    let spaced: Vec<_> = word.chars().map(String::from).collect();
    let text = format!("{}{mark} ", spaced.join(" "));
    match word {
        "." => " ".repeat(WORD + 1),
        "46" => paint.good(&text),
        "--" => paint.bad(&text),
        _ => paint.partly(&text),
    }
}

/// The attempts of one cell, under way.
struct Attempts<'scope>(Vec<Option<[thread::ScopedJoinHandle<'scope, Result<Outcome>>; 2]>>);

impl<'scope> Attempts<'scope> {
    fn begin<'env>(
        scope: &'scope thread::Scope<'scope, 'env>,
        from: &'env Party<'_>,
        to: &'env Party<'_>,
    ) -> Self {
        // Within one machine nothing passes the node.
        let is_tried = !std::ptr::eq(from.netns, to.netns);
        let attempts = PORTS.map(|port| {
            is_tried
                .then(|| [false, true].map(|v6| scope.spawn(move || attempt(from, to, port, v6))))
        });
        Self(attempts.into())
    }

    fn end(self) -> Result<Cell> {
        let word = |attempts: Option<[thread::ScopedJoinHandle<'_, Result<Outcome>>; 2]>| {
            let Some(attempts) = attempts else {
                return Ok(".".to_owned());
            };
            let mut word = String::new();
            for (attempt, family) in attempts.into_iter().zip(['4', '6']) {
                let outcome = attempt
                    .join()
                    .unwrap_or_else(|payload| std::panic::resume_unwind(payload))?;
                word.push(match outcome {
                    Outcome::Allowed => family,
                    Outcome::Denied => '-',
                });
            }
            Ok(word)
        };
        self.0.into_iter().map(word).collect()
    }
}

fn attempt(from: &Party<'_>, to: &Party<'_>, port: u16, v6: bool) -> Result<Outcome> {
    let target = to.address(v6).context("a target without address")?;
    let own = from.address(v6).unwrap_or(if v6 {
        IpAddr::from(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::from(Ipv4Addr::UNSPECIFIED)
    });
    let source = SocketAddr::new(own, 0);
    let target = SocketAddr::new(target, port);
    probe(from.netns, Protocol::Tcp, Some(source), target, PATIENCE)
        .with_context(|| format!("from {}", from.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expectation::{OPEN, WITH_POLICY};

    /// A table that has one row.
    fn row(words: &[&str]) -> Matrix {
        let cells = words
            .iter()
            .map(|cell| cell.split(' ').map(str::to_owned).collect());
        Matrix {
            targets: words.iter().map(|_| "a target".to_owned()).collect(),
            rows: vec![Row {
                source: "default/frontend".to_owned(),
                cells: cells.collect(),
            }],
        }
    }

    #[test]
    fn a_connection_that_should_have_been_denied_is_named() {
        let open = row(&[". .", "46 46", "46 46", "46 46", "46 46"]);
        assert!(open.surprises(OPEN).is_empty());
        let surprises = open.surprises(WITH_POLICY);
        assert_eq!(surprises.len(), 4);
        assert!(surprises[1].contains("expected \"46 --\", found \"46 46\""));
    }

    #[test]
    fn a_row_that_nobody_expected_is_a_surprise() {
        let mut matrix = row(&[". .", "46 46"]);
        matrix.rows[0].source = "somebody/else".to_owned();
        assert_eq!(matrix.surprises(OPEN).len(), 2);
    }
}
