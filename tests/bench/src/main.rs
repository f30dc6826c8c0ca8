//! Measures what the project costs, or shows again what was measured.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::Parser;
use policy_bench::{self as bench, Against, Options, Report};

/// Measures the datapath, the wire and the resolver. Needs root.
#[derive(Parser)]
struct Arguments {
    /// Few rounds: shows that everything works, and about what it costs
    #[arg(long)]
    quick: bool,
    /// Only cases whose `group/case` contains this
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Write every figure to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Show the figures of this file instead of measuring
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "json"])]
    from: Option<PathBuf>,
    /// Draw nanoseconds per packet against the number of policies into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Write the figures as Markdown tables to this file
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Compare with the bench program of another build, case by case, and exit with 1 if a target
    /// is missed
    #[arg(long, value_name = "PROGRAM", requires = "targets",
          conflicts_with_all = ["quick", "json", "from", "plot", "markdown"])]
    against: Option<PathBuf>,
    /// What the comparison is to find
    #[arg(long, value_name = "FILE", requires = "against")]
    targets: Option<PathBuf>,
    /// Rounds of every case of a comparison; in each both programs run twice
    #[arg(long, value_name = "N", default_value = "5")]
    rounds: usize,
    /// Only measure the resolver, at this size (PODS,POLICIES), and print the figures as JSON:
    /// what the task starts for every size
    #[arg(long, hide = true, value_parser = bench::parse_size)]
    resolver: Option<bench::Size>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let options = Options {
        quick: arguments.quick,
        filter: arguments.filter,
    };
    if let Some(size) = arguments.resolver {
        println!("{}", bench::resolver_figures(&options, size)?);
        return Ok(ExitCode::SUCCESS);
    }
    if let (Some(program), Some(targets)) = (arguments.against, arguments.targets) {
        let against = Against {
            program,
            targets,
            rounds: arguments.rounds,
        };
        return Ok(if bench::compare(&options, &against)? {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let (report, errors) = match &arguments.from {
        Some(file) => (read(file)?.filtered(&options), Vec::new()),
        None => bench::run(&options)?,
    };
    print!("{}", bench::table(&report));
    if let Some(file) = &arguments.json {
        write(file, &(serde_json::to_string_pretty(&report)? + "\n"))?;
    }
    if let Some(file) = &arguments.markdown {
        write(file, &bench::markdown(&report))?;
    }
    if let Some(file) = &arguments.plot {
        write(file, &bench::plot(&report)?)?;
    }
    for error in &errors {
        eprintln!("error: {error:#}");
    }
    // A run that measured nothing proves nothing.
    let measured = errors.is_empty() && !report.figures.is_empty();
    Ok(if measured {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn read(file: &Path) -> Result<Report> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("figures in {}", file.display()))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}
