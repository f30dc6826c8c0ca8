//! The command line: one file per subcommand.
//!
//! Owns arguments and exit codes; must not know how anything is done.

mod check;
mod cleanup;
pub mod lint;
mod run;
mod status;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Enforces Kubernetes NetworkPolicy on this node with TC eBPF programs
///
/// Exit codes: 0 done; 1 an error, or `check` and `lint` found one; 2 wrong arguments.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Status(status::StatusArgs),
    Cleanup(cleanup::CleanupArgs),
    Check(check::CheckArgs),
    Lint(lint::LintArgs),
}

/// Runs the subcommand.
///
/// # Errors
/// What kept it from doing its work.
pub fn main(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Run(arguments) => run::run(arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Cleanup(arguments) => cleanup::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Lint(arguments) => lint::run(&arguments),
    }
}
