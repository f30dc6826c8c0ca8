//! Runs every conformance case under the given directories against the datapath.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, ensure};
use clap::Parser;
use policy_conformance::{self as conformance, Options, Way};

/// Checks every verdict of conformance cases in the kernel. Needs root.
#[derive(Parser)]
struct Arguments {
    /// Directories of cases, or single files
    #[arg(required = true, value_name = "DIR")]
    roots: Vec<PathBuf>,
    /// Open real connections between network namespaces
    #[arg(long)]
    wire: bool,
    /// Only cases whose id or one of whose tags contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Begin no further case after one that failed
    #[arg(long)]
    fail_fast: bool,
    /// Do not fail because of cases that need what is not supported
    #[arg(long)]
    allow_unsupported: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let options = Options {
        way: if arguments.wire {
            Way::Wire
        } else {
            Way::Kernel
        },
        filter: arguments.filter,
        fail_fast: arguments.fail_fast,
    };
    let files = conformance::find(&arguments.roots)?;
    ensure!(!files.is_empty(), "no case in {:?}", arguments.roots);
    let summary = conformance::run_files(&files, &options, |report| print!("{report}"));
    println!("{summary}");
    let complete = summary.unsupported == 0 || arguments.allow_unsupported;
    // A run that checked nothing proves nothing.
    let passed = summary.failed == 0 && summary.probes > 0 && complete;
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
