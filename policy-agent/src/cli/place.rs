//! Where the agent is that a command asks.

use std::path::PathBuf;

use crate::datapath::{DEFAULT_PIN_PATH, DEFAULT_RUN_DIR, PinDir};

/// The agent's pin directory, and where its socket stands.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// The pin directory of the agent
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_PATH)]
    pin_path: PathBuf,
    /// The directory of the agent's control socket
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUN_DIR)]
    run_dir: PathBuf,
}

impl Place {
    pub(super) fn pins(&self) -> PinDir {
        PinDir::new(&self.pin_path).with_run_dir(&self.run_dir)
    }
}
