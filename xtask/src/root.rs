//! Becoming root for one command, and only for that command.

use std::{ffi::OsStr, fs, os::unix::fs::MetadataExt as _, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::command;

/// How commands become root on this machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    /// This process is root.
    Already,
    /// Through sudo.
    Sudo,
}

impl Root {
    /// Finds the way; `purpose` completes "root is needed to …".
    ///
    /// # Errors
    /// Neither root nor sudo: the message says what to do.
    pub(crate) fn acquire(purpose: &str) -> Result<Self> {
        // The owner of /proc/self is this process's effective user.
        let user = fs::metadata("/proc/self")
            .context("reading /proc/self")?
            .uid();
        if user == 0 {
            return Ok(Self::Already);
        }
        if command::find("sudo").is_none() {
            bail!("root is needed to {purpose}: there is no sudo here, run this task as root");
        }
        eprintln!("root is needed to {purpose}: using sudo");
        Ok(Self::Sudo)
    }

    /// `program` as root with the present environment.
    pub(crate) fn command(self, program: impl AsRef<OsStr>) -> Command {
        match self {
            Self::Already => Command::new(program),
            Self::Sudo => {
                let mut command = Command::new("sudo");
                command.args(["-E", "--"]).arg(program);
                command
            }
        }
    }
}
