//! `policy-agent lint`: what the manifest source would refuse, and what is probably not meant.
//! Touches no kernel.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::{
    lint::{Finding, Severity, lint},
    source::manifests::{File, Place, list_directory, read_file},
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
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Exit with 1 for warnings too
    #[arg(long)]
    deny_warnings: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// The exit status for paths that cannot be read, as for any other misuse.
const USAGE: u8 = 2;

/// Prints what there is to say about the manifests.
///
/// # Errors
///
/// When it cannot be printed.
pub fn run(args: &LintArgs) -> anyhow::Result<ExitCode> {
    let files = match files(&args.paths) {
        Ok(files) => files,
        Err(error) => {
            eprintln!("policy-agent lint: {error:#}");
            return Ok(ExitCode::from(USAGE));
        }
    };
    let findings = lint(&files);
    let mut out = io::stdout().lock();
    match args.output {
        Output::Text => print_text(&mut out, &findings)?,
        Output::Json => {
            let report = Report::new(&findings);
            serde_json::to_writer_pretty(&mut out, &report)?;
            writeln!(out)?;
        }
    }
    let count = |severity| count(&findings, severity);
    let failed = count(Severity::Error) > 0 || (args.deny_warnings && count(Severity::Warning) > 0);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<(Arc<str>, File)>> {
    let mut files = Vec::new();
    let mut add = |path: &Path| -> anyhow::Result<()> {
        let content = read_file(path);
        let content = content.with_context(|| format!("{}: no such file", path.display()))?;
        files.push((path.to_string_lossy().into(), content));
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
    let counts = [Severity::Error, Severity::Warning].map(|severity| count(findings, severity));
    writeln!(out, "{} errors, {} warnings", counts[0], counts[1])
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
    kind: Option<&'static str>,
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
        let problem = &finding.problem;
        let object = problem.object.as_ref();
        let (document, line) = match problem.place {
            Some(Place { document, line }) => (Some(document), Some(line)),
            None => (None, None),
        };
        Self {
            severity: finding.severity.name(),
            file: &problem.file,
            document,
            line,
            kind: object.map(|object| object.kind.name()),
            namespace: object.map_or("", |object| &object.name.namespace),
            name: object.map_or("", |object| &object.name.name),
            field: problem.field.as_str(),
            message: &problem.message,
            hint: finding.hint.as_deref(),
        }
    }
}
