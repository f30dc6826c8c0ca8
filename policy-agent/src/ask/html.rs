//! The matrix as one page that needs nothing else.

use std::io;

use super::matrix::Report;

const PAGE: &str = include_str!("matrix.html");
/// Where the page has its data.
const DATA: &str = "{{data}}";

/// Writes the page.
///
/// # Errors
/// When it cannot be written.
pub fn page(out: &mut impl io::Write, report: &Report<'_>) -> anyhow::Result<()> {
    let (before, after) = PAGE.split_once(DATA).unwrap_or((PAGE, ""));
    // Nothing in the data ends the element that it stands in.
    let json = serde_json::to_string(report)?.replace('<', "\\u003c");
    write!(out, "{before}{json}{after}")?;
    Ok(())
}
