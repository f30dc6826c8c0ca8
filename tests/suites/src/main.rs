//! The agent as the suites run it: the same program as `policy-agent`, built together with the
//! tests, so that no test ever meets an older one.

use std::process::ExitCode;

use clap::Parser as _;
use policy_agent::cli::{self, Arguments};

fn main() -> ExitCode {
    match cli::main(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("policy-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}
