//! The plot of the README: nanoseconds per packet against the number of policies.
//!
//! Drawn from the figures `wire/policies`: a line for every `ruleset` and `traffic`, dashed where the
//! packets belong to a connection that is established. Both axes are logarithmic: policies grow tenfold, and so does what some rulesets cost. The background is
//! transparent and every colour readable on white and on black, for nobody knows on which of the
//! two a README is shown.

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use crate::{report::Report, table::number};

const GROUP: &str = "wire";
const CASE: &str = "policies";
/// The traffic that is drawn dashed.
const ESTABLISHED: &str = "established";

const WIDTH: f64 = 790.0;
const HEIGHT: f64 = 400.0;
/// Where the axes cross, and where they end.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 580.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 345.0;

const INK: &str = "#7d7d7d";
const COLOURS: [&str; 4] = ["#2f81f7", "#d4730b", "#b35fd1", "#2da44e"];

/// One ruleset under one kind of traffic: (policies, nanoseconds) in the order of policies.
#[derive(Debug, PartialEq)]
struct Series {
    ruleset: String,
    traffic: String,
    points: Vec<(f64, f64)>,
}

/// The plot as SVG.
///
/// # Errors
/// There is nothing to plot.
pub fn plot(report: &Report) -> Result<String> {
    let series = series(report);
    let points = || series.iter().flat_map(|series| &series.points);
    ensure!(
        points().next().is_some(),
        "no figure {GROUP}/{CASE} with policies, ruleset and traffic"
    );
    let across = Axis::over(points().map(|point| point.0), LEFT, RIGHT);
    let up = Axis::over(points().map(|point| point.1), BOTTOM, TOP);
    let mut svg = String::new();
    let _ = write!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13" fill="{INK}">
<title>Nanoseconds per packet against the number of policies</title>
<text x="{LEFT}" y="24" font-size="16" font-weight="bold">Nanoseconds per packet against the number of policies</text>
<text x="{LEFT}" y="43" font-size="11">{}</text>
"#,
        escaped(&report.machine.to_string())
    );
    grid(&mut svg, &across, &up);
    let colours = Colours::of(&series);
    for series in &series {
        draw(&mut svg, series, &colours, &across, &up);
    }
    labels(&mut svg, &series, &colours, &up);
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn series(report: &Report) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for figure in &report.figures {
        if (figure.group.as_str(), figure.case.as_str()) != (GROUP, CASE) {
            continue;
        }
        let number = |name| figure.parameters.get(name)?.parse::<f64>().ok();
        let (Some(policies), Some(ruleset), Some(traffic)) = (
            number("policies"),
            figure.parameters.get("ruleset"),
            figure.parameters.get("traffic"),
        ) else {
            continue;
        };
        // Neither has a place on a logarithmic axis.
        if policies <= 0.0 || figure.median <= 0.0 {
            continue;
        }
        let point = (policies, figure.median);
        let is_same = |series: &&mut Series| series.ruleset == ruleset && series.traffic == traffic;
        match all.iter_mut().find(is_same) {
            Some(series) => series.points.push(point),
            None => all.push(Series {
                ruleset: ruleset.to_owned(),
                traffic: traffic.to_owned(),
                points: vec![point],
            }),
        }
    }
    for series in &mut all {
        series
            .points
            .sort_by(|one, other| one.0.total_cmp(&other.0));
    }
    all
}

/// A logarithmic axis from a whole decade to another.
struct Axis {
    first: i32,
    last: i32,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (low, high) = values.fold((f64::MAX, 0.0_f64), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let first = low.log10().floor() as i32;
        let last = high.log10().ceil() as i32;
        Self {
            first,
            last: last.max(first + 1),
            from,
            to,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let share = (value.log10() - f64::from(self.first)) / f64::from(self.last - self.first);
        self.from + share * (self.to - self.from)
    }

    /// Powers of ten.
    fn decades(&self) -> impl Iterator<Item = f64> {
        (self.first..=self.last).map(|power| 10_f64.powi(power))
    }
}

fn grid(svg: &mut String, across: &Axis, up: &Axis) {
    for value in across.decades() {
        let x = across.place(value);
        let _ = writeln!(
            svg,
            r#"<line x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{BOTTOM}" stroke="{INK}" stroke-opacity="0.25"/><text x="{x:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            BOTTOM + 20.0,
            thousands(value)
        );
    }
    for value in up.decades() {
        let y = up.place(value);
        let _ = writeln!(
            svg,
            r#"<line x1="{LEFT}" y1="{y:.1}" x2="{RIGHT}" y2="{y:.1}" stroke="{INK}" stroke-opacity="0.25"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT - 8.0,
            y + 4.0,
            thousands(value)
        );
    }
    let _ = writeln!(
        svg,
        r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">policies</text>
<text transform="translate(18 {:.1}) rotate(-90)" text-anchor="middle">ns per packet</text>"#,
        f64::midpoint(LEFT, RIGHT),
        BOTTOM + 42.0,
        f64::midpoint(TOP, BOTTOM)
    );
}

fn draw(svg: &mut String, series: &Series, colours: &Colours<'_>, across: &Axis, up: &Axis) {
    let colour = colours.for_ruleset(&series.ruleset);
    let dashes = if series.traffic == ESTABLISHED {
        r#" stroke-dasharray="6 4""#
    } else {
        ""
    };
    let places: Vec<(f64, f64)> = series
        .points
        .iter()
        .map(|(policies, cost)| (across.place(*policies), up.place(*cost)))
        .collect();
    let path: Vec<String> = places
        .iter()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    let _ = writeln!(
        svg,
        r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2.5"{dashes}/>"#,
        path.join(" ")
    );
    for ((x, y), (policies, cost)) in places.iter().zip(&series.points) {
        let _ = writeln!(
            svg,
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{colour}"><title>{}, {} policies: {} ns</title></circle>"#,
            escaped(&series.name()),
            thousands(*policies),
            number(*cost)
        );
    }
}

/// The names at the ends of the lines, moved apart where they would cover each other.
fn labels(svg: &mut String, series: &[Series], colours: &Colours<'_>, up: &Axis) {
    const APART: f64 = 17.0;
    let mut ends: Vec<(f64, usize)> = series
        .iter()
        .enumerate()
        .filter_map(|(index, series)| Some((up.place(series.points.last()?.1), index)))
        .collect();
    ends.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut above = f64::MIN;
    for (y, index) in ends {
        let y = y.max(above + APART);
        above = y;
        let Some(series) = series.get(index) else {
            continue;
        };
        let cost = series.points.last().map(|point| number(point.1));
        let _ = writeln!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" fill="{}" font-weight="bold">{} {}</text>"#,
            RIGHT + 10.0,
            y + 4.0,
            colours.for_ruleset(&series.ruleset),
            escaped(&series.name()),
            cost.unwrap_or_default()
        );
    }
}

impl Series {
    fn name(&self) -> String {
        format!("{}, {}", self.ruleset, self.traffic)
    }
}

/// One for every ruleset.
struct Colours<'a>(Vec<&'a str>);

impl<'a> Colours<'a> {
    fn of(series: &'a [Series]) -> Self {
        let mut rulesets: Vec<&str> = Vec::new();
        for series in series {
            if !rulesets.contains(&series.ruleset.as_str()) {
                rulesets.push(&series.ruleset);
            }
        }
        Self(rulesets)
    }

    fn for_ruleset(&self, ruleset: &str) -> &'static str {
        let index = self.0.iter().position(|other| *other == ruleset);
        COLOURS[index.unwrap_or_default() % COLOURS.len()]
    }
}

/// 10000 as 10,000; fractions as they are.
fn thousands(value: f64) -> String {
    if value < 1.0 {
        return format!("{value}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Figure;

    fn report() -> Report {
        let mut report = Report::default();
        for (ruleset, traffic, policies, cost) in [
            ("ours", "new", 10_000, 101.0),
            ("ours", "new", 10, 100.0),
            ("ours", "established", 10, 20.0),
            ("nftables", "new", 10, 300.0),
            ("nftables", "new", 10_000, 90_000.0),
        ] {
            report.add(
                Figure::single("wire", "policies", "ns", cost)
                    .with("policies", policies)
                    .with("ruleset", ruleset)
                    .with("traffic", traffic),
            );
        }
        report.add(Figure::single("wire", "rr", "ratio", 0.97));
        report
    }

    #[test]
    fn every_ruleset_and_traffic_is_a_line_through_its_points_in_order() {
        let ours = Series {
            ruleset: "ours".into(),
            traffic: "new".into(),
            points: vec![(10.0, 100.0), (10_000.0, 101.0)],
        };
        let series = series(&report());
        assert_eq!(series.len(), 3);
        assert_eq!(series[0], ours);
    }

    #[test]
    fn axes_begin_and_end_at_powers_of_ten() {
        let axis = Axis::over([20.0, 3_000.0].into_iter(), 0.0, 300.0);
        assert_eq!(
            axis.decades().collect::<Vec<_>>(),
            [10.0, 100.0, 1_000.0, 10_000.0]
        );
        assert_eq!(axis.place(10.0), 0.0);
        assert_eq!(axis.place(1_000.0), 200.0);
        let flat = Axis::over([100.0].into_iter(), 0.0, 100.0);
        assert_eq!(flat.decades().count(), 2);
    }

    #[test]
    fn the_drawing_names_rulesets_and_numbers() {
        let svg = plot(&report()).unwrap();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<polyline").count(), 3);
        assert_eq!(svg.matches("stroke-dasharray").count(), 1);
        assert_eq!(svg.matches("<circle").count(), 5);
        for text in [
            ">10,000<",
            ">policies<",
            "ours, new 101<",
            "nftables, new 90000<",
        ] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
    }

    #[test]
    fn without_figures_there_is_nothing_to_draw() {
        assert!(plot(&Report::default()).is_err());
    }
}
