//! `demo`: the enforcer's main job, shown on a small cluster of network namespaces.
//!
//! Owns the exit code and the end of the run, however it comes: values that made something remove it
//! when they are dropped, so every way out goes through `main`. Invariant: what is shown is checked;
//! a cell that is not as expected ends in a non-zero exit code.

mod agent;
mod cluster;
mod expectation;
mod interrupt;
mod manifests;
mod matrix;
mod opened;
mod paint;
mod story;

use std::{
    env,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::{interrupt::Interrupt, paint::Paint};

/// Shows NetworkPolicy enforcement on this machine: makes network namespaces that play pods, runs
/// the real agent on them, connects from each to each, and removes everything again (needs root)
///
/// Nothing is attached or configured in the machine's own network namespace. Exits with 0 when every
/// connection was allowed or denied as expected, with 1 when not, with 130 when interrupted.
#[derive(Debug, Parser)]
struct Arguments {
    /// The agent; by default the `policy-agent` beside this program
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

/// The exit code of a program that SIGINT ended, as shells report it.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let paint = Paint::for_stdout();
    let interrupt = match Interrupt::watch() {
        Ok(interrupt) => interrupt,
        Err(error) => {
            eprintln!("demo: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    match run(arguments, paint, &interrupt) {
        // Whatever failed while the run was being ended failed because of that.
        Err(_) if interrupt.came() => {
            // Whoever hung up does not read it.
            let _: io::Result<()> = writeln!(
                io::stdout(),
                "\nInterrupted; everything that was made is removed again."
            );
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            eprintln!("\n{} {error:#}", paint.bad("The demo failed:"));
            ExitCode::FAILURE
        }
        Ok(()) => ExitCode::SUCCESS,
    }
}

fn run(arguments: Arguments, paint: Paint, interrupt: &Interrupt) -> Result<()> {
    let agent = match arguments.agent {
        Some(path) => path,
        None => beside()?,
    };
    story::tell(&agent, paint, interrupt)
}

/// The agent that was built together with this program.
fn beside() -> Result<PathBuf> {
    let own = env::current_exe().context("finding this program's own path")?;
    let agent = own.with_file_name("policy-agent");
    anyhow::ensure!(
        agent.is_file(),
        "{} is missing: build it with `cargo build --package policy-agent`, or use `cargo xtask demo`",
        agent.display()
    );
    Ok(agent)
}
