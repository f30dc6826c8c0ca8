//! One server as a process, known by a file with its number.
//!
//! Invariant: only a process that runs the program which the file's owner started is ever ended.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long a process may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    directory: PathBuf,
    program: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// One that may run or not, of the program that is called `name` in the directory.
    pub(crate) fn new(name: &'static str, directory: &Path) -> Self {
        Self {
            name,
            directory: directory.to_owned(),
            program: directory.join(name),
            child: None,
        }
    }

    /// Starts it; with `bound`, it ends with the thread that called this.
    pub(crate) fn start(&mut self, arguments: &[String], bound: bool) -> Result<()> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.join(format!("{}.log", self.name)))?;
        let mut command = if bound {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL"]).arg(&self.program);
            command
        } else {
            let mut command = Command::new("setsid");
            command.arg(&self.program);
            command
        };
        let child = command
            .args(arguments)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        fs::write(self.pid_file(), child.id().to_string())?;
        self.child = Some(child);
        Ok(())
    }

    /// Whether it runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        if let Some(child) = &mut self.child {
            return matches!(child.try_wait(), Ok(None));
        }
        self.pid().is_some()
    }

    /// Ends it, and waits for its end.
    pub(crate) fn end(&mut self, signal: Signal) -> Result<()> {
        let Some(pid) = self.pid() else {
            return Ok(());
        };
        kill(pid, signal)?;
        let deadline = Instant::now() + PATIENCE;
        while self.is_alive() {
            if Instant::now() >= deadline {
                kill(pid, Signal::SIGKILL)?;
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.child = None;
        Ok(fs::remove_file(self.pid_file())?)
    }

    /// The last lines that it wrote.
    pub(crate) fn log_end(&self) -> String {
        let log = self.directory.join(format!("{}.log", self.name));
        let text = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    /// Its number, while it is the program that was started.
    pub(crate) fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.pid_file()).ok()?;
        let number: i32 = text.trim().parse().ok()?;
        let runs = fs::read(format!("/proc/{number}/cmdline")).ok()?;
        let first = runs
            .split(|byte| *byte == 0)
            .find(|word| word.ends_with(self.name.as_bytes()));
        first.map(|_| Pid::from_raw(number))
    }

    fn pid_file(&self) -> PathBuf {
        self.directory.join(format!("{}.pid", self.name))
    }
}
