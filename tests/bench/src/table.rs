//! The figures as a table for a terminal.

use crate::{report::Figure, report::Report};

/// One line per figure, columns aligned, groups apart, and how many bars were met.
pub fn table(report: &Report) -> String {
    let rows: Vec<[String; 6]> = report.figures.iter().map(row).collect();
    let heads = ["figure", "median", "min", "p99", "samples", "bar"];
    let mut widths = heads.map(|head| head.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = format!("{}\n", report.machine);
    let mut group = "";
    for (figure, row) in report.figures.iter().zip(&rows) {
        if figure.group != group {
            group = &figure.group;
            text.push('\n');
            text.push_str(&line(&heads.map(str::to_owned), &widths));
        }
        text.push_str(&line(row, &widths));
    }
    let bars: Vec<bool> = report.figures.iter().filter_map(Figure::met).collect();
    let met = bars.iter().filter(|met| **met).count();
    text.push_str(&format!("\n{met} of {} bars met\n", bars.len()));
    text
}

fn row(figure: &Figure) -> [String; 6] {
    let shown = |value: Option<f64>| value.map(number).unwrap_or_default();
    let bar = figure.bar.map(|bar| {
        let verdict = if figure.met() == Some(true) {
            "met"
        } else {
            "MISSED"
        };
        format!("{bar} {verdict}")
    });
    [
        figure.name(),
        format!("{} {}", number(figure.median), figure.unit),
        shown(figure.min),
        shown(figure.p99),
        figure.samples.to_string(),
        bar.unwrap_or_default(),
    ]
}

/// As many digits as are meant.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        _ if value == value.trunc() => 0,
        small if small < 10.0 => 2,
        middling if middling < 1000.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

/// The first cell to the left, the numbers to the right, the bar to the left.
fn line(cells: &[String; 6], widths: &[usize; 6]) -> String {
    let mut line = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
        let is_text = column == 0 || column == cells.len() - 1;
        let (before, after) = if is_text {
            ("", &pad[..])
        } else {
            (&pad[..], "")
        };
        line.push_str(&format!("{before}{cell}{after}  "));
    }
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::Summary;

    #[test]
    fn the_table_says_which_bars_are_missed() {
        let mut report = Report::default();
        let summary = Summary::of(&[20.25, 20.25]).unwrap();
        report.add(Figure::of("datapath", "free", "ns", summary).at_most(12.0));
        report.add(Figure::single("datapath", "hit", "ns", 3.0).at_most(12.0));
        let table = table(&report);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[3].starts_with("datapath/free") && lines[3].ends_with("≤ 12 MISSED"));
        assert!(lines[4].ends_with("≤ 12 met"), "{table}");
        assert!(lines[3].contains("20.2 ns"), "{table}");
        assert_eq!(lines.last(), Some(&"1 of 2 bars met"));
    }
}
