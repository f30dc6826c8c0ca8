//! The agent binary.

use std::{process::ExitCode, time::Duration};

use clap::Parser as _;
use policy_agent::{
    cli::{self, Arguments},
    telemetry,
};

/// How long the last words wait for a reader.
const PATIENCE: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    match cli::main(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            // All causes on one line; where in the code it happened helps nobody who runs it.
            telemetry::say(format!("policy-agent: {error:#}"), PATIENCE);
            ExitCode::FAILURE
        }
    }
}
