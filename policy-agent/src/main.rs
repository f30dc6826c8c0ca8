//! The agent binary.

use std::process::ExitCode;

use clap::Parser as _;
use policy_agent::cli::{self, Arguments};

fn main() -> ExitCode {
    match cli::main(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            // All causes on one line; where in the code it happened helps nobody who runs it.
            eprintln!("policy-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}
