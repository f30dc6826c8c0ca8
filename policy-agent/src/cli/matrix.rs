//! `policy-agent matrix`: who reaches whom, and what a change opens.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use policy_core::resolve::Resolver;
use serde::Serialize;

use crate::{
    ask::{Difference, Matrix, Offline, page},
    text::{Printable, printable_json},
};

/// Shows who may open connections to whom, and what a change of the manifests opens and closes
///
/// Reads directories of manifests, without root and without an agent. Rows are pods that no rule tells
/// apart, and the parts of the world outside that ipBlocks tell apart. Pods that have finished or are on
/// their node's network are left out.
///
/// Exits with 0; with --diff, with 1 when something is opened, also where something else is closed; with 2
/// when a directory cannot be read.
#[derive(Debug, clap::Args)]
pub(super) struct MatrixArgs {
    /// The directory of manifests
    #[arg(long, value_name = "DIR")]
    manifests: PathBuf,
    /// Compare with this directory, which is to take its place
    #[arg(long, value_name = "DIR")]
    diff: Option<PathBuf>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    output: MatrixFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum MatrixFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object
    Json,
    /// One page for a browser, which needs nothing else
    Html,
}

const OPENED: u8 = 1;

/// Exit code of what cannot be read, as of any other misuse.
const UNREADABLE: u8 = 2;

pub(super) fn run(arguments: &MatrixArgs) -> anyhow::Result<ExitCode> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let code = report(arguments, &mut out, &mut io::stderr())?;
    out.flush()?;
    Ok(ExitCode::from(code))
}

pub(super) fn report(
    arguments: &MatrixArgs,
    out: &mut impl io::Write,
    complaints: &mut impl io::Write,
) -> anyhow::Result<u8> {
    let (before, after) = match sets(arguments, complaints) {
        Ok(sets) => sets,
        Err(error) => {
            let error = Printable(format!("{error:#}"));
            writeln!(complaints, "policy-agent matrix: {error}")?;
            return Ok(UNREADABLE);
        }
    };
    let Some(after) = after else {
        let matrix = Matrix::new(&before);
        match arguments.output {
            MatrixFormat::Text => write!(out, "{matrix}")?,
            MatrixFormat::Json => print_json(out, &matrix.report())?,
            MatrixFormat::Html => page(out, &matrix.report())?,
        }
        return Ok(0);
    };
    let difference = Difference::new(&before, &after);
    match arguments.output {
        MatrixFormat::Json => print_json(out, &difference)?,
        MatrixFormat::Text | MatrixFormat::Html => write!(out, "{difference}")?,
    }
    Ok(if difference.opens() { OPENED } else { 0 })
}

fn sets(
    arguments: &MatrixArgs,
    complaints: &mut impl io::Write,
) -> anyhow::Result<(Resolver, Option<Resolver>)> {
    let MatrixArgs {
        manifests,
        diff,
        output,
    } = arguments;
    anyhow::ensure!(
        diff.is_none() || *output != MatrixFormat::Html,
        "a difference has no page: --output text or json"
    );
    let mut read = |directory: &Path| -> anyhow::Result<_> {
        let offline = Offline::read(directory).with_context(|| directory.display().to_string())?;
        offline.complain(complaints)?;
        Ok(offline.resolver)
    };
    let before = read(manifests)?;
    Ok((before, diff.as_deref().map(read).transpose()?))
}

fn print_json(out: &mut impl io::Write, value: &impl Serialize) -> anyhow::Result<()> {
    writeln!(out, "{}", printable_json(&serde_json::to_string(value)?))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use policy_core::model::Traffic;
    use serde_json::Value;

    use super::*;
    use crate::{ask::PartyArgument, cli::fixture::SHOP};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: MatrixArgs,
    }

    /// The exit code and what is printed of a set of manifests, or of the difference to another.
    fn matrix(before: &str, after: Option<&str>, further: &[&str]) -> (u8, String) {
        let sets = [Some(before), after].map(|text| {
            text.map(|text| {
                let directory = tempfile::tempdir().unwrap();
                std::fs::write(directory.path().join("shop.yaml"), text).unwrap();
                directory
            })
        });
        let flags = ["--manifests", "--diff"].iter().zip(&sets);
        let flags = flags.filter_map(|(flag, set)| Some([flag, set.as_ref()?.path().to_str()?]));
        let words = ["matrix"].into_iter().chain(flags.flatten());
        let words = words.chain(further.iter().copied());
        let cli = Cli::try_parse_from(words).unwrap();
        let mut out = Vec::new();
        let code = report(&cli.args, &mut out, &mut io::sink()).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn for_people_a_row_says_what_it_may_open() {
        let (code, text) = matrix(SHOP, None, &[]);
        assert_eq!(code, 0);
        let rows: Vec<_> = text.split("from ").collect();
        let of = |name: &str| *rows.iter().find(|row| row.starts_with(name)).unwrap();
        assert!(of("shop/client").contains("TCP 80,8000-8010"), "{text}");
        assert!(of("shop/web\n").contains("nothing"), "{text}");
        assert!(
            of("shop/both").contains("IPv4: UDP 53, IPv6: nothing"),
            "{text}"
        );
        assert!(of("192.0.2.0/24\n").contains("UDP 53"), "{text}");
        assert!(!text.contains("shop/agent"), "{text}");
    }

    #[test]
    fn for_machines_every_cell_says_what_explain_says() {
        let (_, json) = matrix(SHOP, None, &["--output", "json"]);
        let report: Value = serde_json::from_str(&json).unwrap();
        let offline = tempfile::tempdir().unwrap();
        std::fs::write(offline.path().join("shop.yaml"), SHOP).unwrap();
        let resolver = Offline::read(offline.path()).unwrap().resolver;
        let rows = report["rows"].as_array().unwrap();
        let pod = |row: &Value| {
            row["pods"][0]
                .as_str()
                .map(|name| name.parse::<PartyArgument>())
        };
        let mut compared = 0;
        for (from, cells) in rows.iter().zip(report["cells"].as_array().unwrap()) {
            for (to, cell) in rows.iter().zip(cells.as_array().unwrap()) {
                let (Some(from), Some(to)) = (pod(from), pod(to)) else {
                    continue;
                };
                let Some(cell) = cell.as_u64() else { continue };
                let reaches = resolver.reach(&from.unwrap().0, &to.unwrap().0).unwrap();
                let over = report["traffic"][cell as usize]["over"].as_array().unwrap();
                let mut everything = over.iter().map(|one| one["everything"].as_bool().unwrap());
                let mut expected = reaches
                    .iter()
                    .map(|one| one.traffic() == Traffic::Everything);
                assert!(everything.by_ref().eq(expected.by_ref()));
                compared += 1;
            }
        }
        assert_eq!(compared, 20, "of five pods each to each other");
    }

    #[test]
    fn the_page_holds_the_data_and_no_name_ends_it() {
        let (_, html) = matrix(SHOP, None, &["--output", "html"]);
        let (_, json) = matrix(SHOP, None, &["--output", "json"]);
        assert!(html.contains(json.trim()), "{html}");
        assert_eq!(html.matches("</script>").count(), 2);
    }

    #[test]
    fn what_a_change_opens_is_an_exit_code() {
        let same = matrix(SHOP, Some(SHOP), &[]);
        assert_eq!(same, (0, "0 opened, 0 closed\n".into()));
        let wider = SHOP.replace("endPort: 8010", "endPort: 8011");
        let (code, text) = matrix(SHOP, Some(&wider), &[]);
        assert_eq!(code, 1);
        let line = "opens  shop/client -> shop/web: TCP 80,8000-8011 (was TCP 80,8000-8010)\n";
        assert_eq!(text, format!("{line}1 opened, 0 closed\n"));
        let (code, text) = matrix(&wider, Some(SHOP), &[]);
        assert_eq!(code, 0);
        assert!(text.starts_with("closes shop/client -> shop/web"), "{text}");
        // A block that only one of the two mentions is compared all the same.
        let block = SHOP.replace("192.0.2.0/24", "192.0.2.128/25");
        let (code, text) = matrix(SHOP, Some(&block), &[]);
        assert_eq!(code, 0, "{text}");
        assert!(
            text.contains("closes 192.0.2.0/24 -> shop/dual: nothing (was UDP 53)"),
            "{text}"
        );
        let gone = SHOP.replace("name: client,", "name: caller,");
        let (code, text) = matrix(SHOP, Some(&gone), &[]);
        assert_eq!(code, 0);
        assert!(
            text.contains("added, and not compared: shop/caller"),
            "{text}"
        );
        assert!(
            text.contains("removed, and not compared: shop/client"),
            "{text}"
        );
    }

    #[test]
    fn what_cannot_be_read_is_misuse() {
        let cli = Cli::try_parse_from(["matrix", "--manifests", "/nonexistent"]).unwrap();
        let mut complaints = Vec::new();
        let code = report(&cli.args, &mut io::sink(), &mut complaints).unwrap();
        assert_eq!(code, UNREADABLE);
        assert!(
            String::from_utf8(complaints)
                .unwrap()
                .contains("/nonexistent")
        );
    }
}
