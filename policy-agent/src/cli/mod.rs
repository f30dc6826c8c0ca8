//! The command line: one file per subcommand.
//!
//! Owns arguments and exit codes; must not know how anything is done.

mod bundle;
mod check;
mod cleanup;
mod completions;
#[cfg(test)]
mod documented;
mod explain;
#[cfg(test)]
mod fixture;
mod flows;
pub mod lint;
mod matrix;
mod observe;
mod others;
mod place;
mod revision;
mod run;
mod status;

use std::{io, process::ExitCode};

use clap::{Parser, Subcommand};

/// What somebody who has just installed the agent does with it.
const FIRST_STEPS: &str = "\
First steps, as root:
  policy-agent check                  can this machine run it?
  policy-agent lint DIR               do the manifests say what was meant?
  policy-agent explain --manifests DIR FROM TO 80/TCP
                                      would it pass, and by which rule?
  policy-agent run --manifests DIR    enforce them; logs every drop with reason and policies
  policy-agent run --kubeconfig FILE  enforce those of a Kubernetes cluster
  policy-agent status                 what is enforced, by which policies, and what is not
  policy-agent cleanup                end the enforcement";

/// How a command prints what it has to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum OutputFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object
    Json,
}

/// Enforces Kubernetes NetworkPolicy on this node with TC eBPF programs
///
/// Exit codes: 0 done; 1 an error, or `check` and `lint` found one, or `explain` says denied; 2 wrong
/// arguments, or `lint` cannot read a path, or `explain` has no answer.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = FIRST_STEPS)]
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
    Bundle(bundle::BundleArgs),
    Lint(lint::LintArgs),
    Explain(explain::ExplainArgs),
    Flows(flows::FlowsArgs),
    Matrix(matrix::MatrixArgs),
    Observe(observe::ObserveArgs),
    Policies(flows::PoliciesArgs),
    Revision(revision::RevisionArgs),
    Completions(completions::CompletionsArgs),
    Manual(completions::ManualArgs),
}

/// Runs the subcommand.
///
/// # Errors
/// What kept it from doing its work.
pub fn main(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Run(arguments) => run::run(arguments),
        Command::Status(arguments) => printed(status::run(&arguments)),
        Command::Cleanup(arguments) => cleanup::run(&arguments),
        Command::Bundle(arguments) => printed(bundle::run(&arguments)),
        Command::Check(arguments) => printed(check::run(&arguments)),
        Command::Lint(arguments) => printed(lint::run(&arguments)),
        Command::Explain(arguments) => printed(explain::run(arguments)),
        Command::Matrix(arguments) => printed(matrix::run(&arguments)),
        Command::Flows(arguments) => printed(flows::flows(&arguments)),
        Command::Policies(arguments) => printed(flows::policies(&arguments)),
        Command::Observe(arguments) => printed(observe::run(&arguments)),
        Command::Revision(arguments) => printed(revision::run(&arguments)),
        Command::Completions(arguments) => printed(completions::completions(&arguments)),
        Command::Manual(arguments) => completions::manual(&arguments),
    }
}

/// A reader that went away (`| head`) is worth a failure, as SIGPIPE is, but no words.
fn printed(result: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    let has_no_reader = |error: &anyhow::Error| {
        let kinds = error.chain().map(|cause| {
            let plain = cause.downcast_ref().map(io::Error::kind);
            plain.or_else(|| cause.downcast_ref::<serde_json::Error>()?.io_error_kind())
        });
        kinds
            .flatten()
            .any(|kind| kind == io::ErrorKind::BrokenPipe)
    };
    match result {
        Err(error) if has_no_reader(&error) => Ok(ExitCode::FAILURE),
        result => result,
    }
}
