//! The figures as Markdown, for the README.
//!
//! One table per group. Where figures differ by family and direction only they share a row.

use std::fmt::Write as _;

use crate::{report::Figure, report::Report, table::number};

/// Parameters that make columns.
const COLUMNS: [&str; 2] = ["family", "direction"];

/// One table per group, under the machine's description.
pub fn markdown(report: &Report) -> String {
    let mut text = format!("{}.\n", report.machine);
    let mut figures = report.figures.as_slice();
    while let Some(first) = figures.first() {
        let length = figures
            .iter()
            .take_while(|figure| figure.group == first.group)
            .count();
        let (group, rest) = figures.split_at(length);
        figures = rest;
        text.push('\n');
        let columns = columns(group);
        if columns.len() > 1 {
            wide(&mut text, group, &columns);
        } else {
            long(&mut text, group);
        }
    }
    text
}

/// A row per circumstances, a column per family and direction.
fn wide(text: &mut String, figures: &[Figure], columns: &[String]) {
    let mut rows: Vec<(String, Vec<&Figure>)> = Vec::new();
    for figure in figures {
        let name = name(figure);
        match rows.iter_mut().find(|(other, _)| *other == name) {
            Some((_, row)) => row.push(figure),
            None => rows.push((name, vec![figure])),
        }
    }
    let unit = figures.first().map_or("", |figure| &figure.unit);
    let mut heads = vec![format!("{} ({unit})", group(figures)), "bar".to_owned()];
    heads.extend(columns.iter().cloned());
    head(text, &heads);
    for (name, row) in rows {
        let cell = |wanted: &String| {
            let figure = row.iter().find(|figure| column(figure) == *wanted);
            figure.map_or_else(String::new, |figure| cell(figure, unit))
        };
        let mut bars: Vec<String> = row.iter().filter_map(|figure| bar(figure)).collect();
        bars.dedup();
        let mut cells = vec![name, bars.join(" / ")];
        cells.extend(columns.iter().map(cell));
        line(text, &cells);
    }
}

/// A row per figure.
fn long(text: &mut String, figures: &[Figure]) {
    head(
        text,
        &[group(figures), "median", "min", "p99", "bar"].map(str::to_owned),
    );
    for figure in figures {
        let shown = |value: Option<f64>| value.map(number).unwrap_or_default();
        line(
            text,
            &[
                full_name(figure),
                cell(figure, ""),
                shown(figure.min),
                shown(figure.p99),
                bar(figure).unwrap_or_default(),
            ],
        );
    }
}

fn group(figures: &[Figure]) -> &str {
    figures.first().map_or("", |figure| &figure.group)
}

/// The median, with its unit unless that is the column's, and whether it keeps to its bar.
fn cell(figure: &Figure, unit: &str) -> String {
    let mut cell = number(figure.median);
    if figure.unit != unit {
        let _ = write!(cell, " {}", figure.unit);
    }
    match figure.met() {
        Some(true) => cell.push_str(" ✓"),
        Some(false) => cell.push_str(" ✗"),
        None => {}
    }
    cell
}

fn bar(figure: &Figure) -> Option<String> {
    figure.bar.map(|bar| bar.to_string())
}

/// The columns that the figures make, in the order in which they come.
fn columns(figures: &[Figure]) -> Vec<String> {
    let mut columns = Vec::new();
    for figure in figures {
        let column = column(figure);
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    columns
}

fn column(figure: &Figure) -> String {
    let values = COLUMNS.map(|name| figure.parameters.get(name));
    values.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn name(figure: &Figure) -> String {
    described(figure, |name| !COLUMNS.contains(&name))
}

fn full_name(figure: &Figure) -> String {
    described(figure, |_| true)
}

/// The case and those parameters that are wanted.
fn described(figure: &Figure, wanted: impl Fn(&str) -> bool) -> String {
    let mut text = figure.case.replace('_', " ");
    for (name, value) in figure.parameters.iter().filter(|(name, _)| wanted(name)) {
        let _ = write!(text, ", {} {value}", name.replace('_', " "));
    }
    text
}

fn head(text: &mut String, cells: &[String]) {
    line(text, cells);
    let rule: Vec<String> = (0..cells.len())
        .map(|column| if column == 0 { "---" } else { "---:" }.to_owned())
        .collect();
    line(text, &rule);
}

fn line(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(family: &str, direction: &str, value: f64) -> Figure {
        Figure::single("datapath", "established", "ns", value)
            .with("family", family)
            .with("direction", direction)
            .with("flows", 1)
    }

    #[test]
    fn families_and_directions_share_a_row() {
        let mut report = Report::default();
        report.add(figure("v4", "ingress", 20.0).at_most(25.0));
        report.add(figure("v4", "egress", 26.0).at_most(25.0));
        report.add(figure("v6", "ingress", 28.0).at_most(30.0));
        report.add(Figure::single("wire", "rr", "ratio", 0.97).at_least(0.95));
        let text = markdown(&report);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[2..],
            [
                "| datapath (ns) | bar | v4 ingress | v4 egress | v6 ingress |",
                "| --- | ---: | ---: | ---: | ---: |",
                "| established, flows 1 | ≤ 25 / ≤ 30 | 20 ✓ | 26 ✗ | 28 ✓ |",
                "",
                "| wire | median | min | p99 | bar |",
                "| --- | ---: | ---: | ---: | ---: |",
                "| rr | 0.97 ratio ✓ |  |  | ≥ 0.95 |",
            ]
        );
    }
}
