//! `policy-agent lint`: what the manifest source would refuse, and what is probably not meant.
//! Touches no kernel.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::OutputFormat;
use crate::{
    lint::{Finding, Severity, lint},
    source::{
        Place,
        manifests::{File, list_directory, read_file},
    },
    text::{Printable, printable_json},
};

/// Checks manifests without enforcing them.
///
/// Exits with 1 when there are errors, 2 when a path cannot be read.
#[derive(Debug, Args)]
pub struct LintArgs {
    /// Files, and directories of *.yaml, *.yml and *.json (not recursive)
    #[arg(required = true, value_name = "DIR|FILE")]
    paths: Vec<PathBuf>,
    /// How to print the findings
    #[arg(long, value_enum, default_value_t)]
    output: OutputFormat,
    /// Exit with 1 for warnings too
    #[arg(long)]
    deny_warnings: bool,
}

/// The exit status when there are errors.
const FINDINGS: u8 = 1;

/// The exit status for paths that cannot be read, as for any other misuse.
const USAGE: u8 = 2;

/// Prints what there is to say about the manifests.
///
/// # Errors
///
/// When it cannot be printed.
pub fn run(args: &LintArgs) -> anyhow::Result<ExitCode> {
    report(args, &mut io::stdout().lock(), &mut io::stderr().lock()).map(ExitCode::from)
}

fn report(
    args: &LintArgs,
    out: &mut impl io::Write,
    complaints: &mut impl io::Write,
) -> anyhow::Result<u8> {
    let files = match files(&args.paths) {
        Ok(files) => files,
        Err(error) => {
            writeln!(
                complaints,
                "policy-agent lint: {}",
                Printable(format!("{error:#}"))
            )?;
            return Ok(USAGE);
        }
    };
    let findings = lint(&files);
    match args.output {
        OutputFormat::Text => print_text(out, &findings)?,
        OutputFormat::Json => {
            let json = serde_json::to_string_pretty(&Report::new(&findings))?;
            writeln!(out, "{}", printable_json(&json))?;
        }
    }
    let found = |severity| count(&findings, severity) > 0;
    let failed = found(Severity::Error) || (args.deny_warnings && found(Severity::Warning));
    Ok(if failed { FINDINGS } else { 0 })
}

fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<(Arc<str>, File)>> {
    let mut files = Vec::new();
    let mut seen = BTreeSet::new();
    let mut add = |path: &Path| -> anyhow::Result<()> {
        let content = read_file(path);
        let content = content.with_context(|| format!("{}: no such file", path.display()))?;
        if seen.insert(path.canonicalize()?) {
            files.push((path.to_string_lossy().into(), content));
        }
        Ok(())
    };
    for path in paths {
        if path.is_dir() {
            let names = list_directory(path).with_context(|| path.display().to_string())?;
            for name in names {
                add(&path.join(&*name))?;
            }
        } else {
            add(path)?;
        }
    }
    Ok(files)
}

fn print_text(out: &mut impl io::Write, findings: &[Finding]) -> io::Result<()> {
    for finding in findings {
        writeln!(out, "{finding}")?;
    }
    let [errors, warnings] = [Severity::Error, Severity::Warning].map(|severity| {
        let count = count(findings, severity);
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {}{plural}", severity.name())
    });
    writeln!(out, "{errors}, {warnings}")
}

fn count(findings: &[Finding], severity: Severity) -> usize {
    findings
        .iter()
        .filter(|finding| finding.severity == severity)
        .count()
}

#[derive(Serialize)]
struct Report<'a> {
    errors: usize,
    warnings: usize,
    findings: Vec<Line<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    severity: &'static str,
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    field: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl<'a> Report<'a> {
    fn new(findings: &'a [Finding]) -> Self {
        Self {
            errors: count(findings, Severity::Error),
            warnings: count(findings, Severity::Warning),
            findings: findings.iter().map(Line::new).collect(),
        }
    }
}

impl<'a> Line<'a> {
    fn new(finding: &'a Finding) -> Self {
        let object = finding.object.as_ref();
        let (document, line) = match finding.place {
            Some(Place { document, line }) => (Some(document), Some(line)),
            None => (None, None),
        };
        Self {
            severity: finding.severity.name(),
            file: &finding.file,
            document,
            line,
            kind: object.map(|object| object.kind.as_str()),
            namespace: object.map_or("", |object| &object.namespace),
            name: object.map_or("", |object| &object.name),
            field: finding.field.as_str(),
            message: &finding.message,
            hint: finding.hint.as_deref(),
        }
    }
}

/// A report whose only finding says everything that one can say.
#[cfg(test)]
pub(super) fn example() -> serde_json::Value {
    let whole = Line {
        severity: Severity::Error.name(),
        file: "a.yaml",
        document: Some(1),
        line: Some(1),
        kind: Some("Pod"),
        namespace: "shop",
        name: "web",
        field: "spec",
        message: "wrong",
        hint: Some("right"),
    };
    let report = Report {
        errors: 1,
        warnings: 0,
        findings: vec![whole],
    };
    serde_json::to_value(report).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: LintArgs,
    }

    const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: x}\nspec: {podSelector: {}}\n";

    fn lint_of(files: &[(&str, &str)], options: &[&str]) -> (u8, String) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let path = directory.path().to_str().unwrap();
        let words = ["lint", path].into_iter().chain(options.iter().copied());
        let cli = Cli::try_parse_from(words).unwrap();
        let mut out = Vec::new();
        let status = report(&cli.args, &mut out, &mut io::sink()).unwrap();
        let out = String::from_utf8(out).unwrap();
        (status, out.replace(&format!("{path}/"), ""))
    }

    #[test]
    fn errors_fail_and_warnings_do_not_unless_denied() {
        let broken = POLICY.replace("podSelector", "podSelectr");
        let (status, out) = lint_of(&[("a.yaml", POLICY), ("b.yaml", &broken)], &[]);
        assert_eq!(status, 1);
        assert!(
            out.contains(
                "error: b.yaml:4: document 1: NetworkPolicy x/p: spec.podSelectr: unknown field\n"
            ),
            "{out}"
        );
        let (status, out) = lint_of(&[("a.yaml", POLICY)], &[]);
        assert_eq!(
            (status, out.contains("0 errors, 1 warning\n")),
            (0, true),
            "{out}"
        );
        let (status, _) = lint_of(&[("a.yaml", POLICY)], &["--deny-warnings"]);
        assert_eq!(status, 1);
    }

    #[test]
    fn json_has_every_part_of_a_finding() {
        let (_, out) = lint_of(&[("a.yaml", POLICY)], &["--output", "json"]);
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["warnings"], 1);
        let finding = &report["findings"][0];
        for (field, value) in [
            ("severity", "warning"),
            ("file", "a.yaml"),
            ("kind", "NetworkPolicy"),
            ("namespace", "x"),
            ("name", "p"),
            ("field", "metadata.namespace"),
        ] {
            assert_eq!(finding[field], value, "{field}");
        }
        assert_eq!(finding["document"], 1);
    }

    #[test]
    fn a_path_that_is_not_there_is_misuse() {
        let (status, _) = lint_of(&[], &["/nonexistent/a.yaml"]);
        assert_eq!(status, USAGE);
    }
}
