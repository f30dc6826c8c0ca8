//! One server as a process, known by a file with its number.
//!
//! Invariant: only a process that runs the program which the file's owner started is ever ended.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Somebody wants what begins to end.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Lets a start that is under way fail soon.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// An error once a start is to fail.
pub(crate) fn go_on() -> Result<()> {
    ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}

/// How long a process may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    directory: PathBuf,
    program: PathBuf,
    /// The network namespace that it is in, when not this one.
    namespace: Option<String>,
    child: Option<Child>,
}

impl Process {
    /// One that may run or not, of the program that is called `name` in the directory.
    pub(crate) fn new(name: &str, directory: &Path) -> Self {
        Self::of(&directory.join(name), name, directory)
    }

    /// One of another program, which is told this name as an argument.
    pub(crate) fn of(program: &Path, name: &str, directory: &Path) -> Self {
        Self {
            name: name.to_owned(),
            directory: directory.to_owned(),
            program: program.to_owned(),
            namespace: None,
            child: None,
        }
    }

    /// It is in a network namespace, known by its name, once it is started.
    pub(crate) fn enter(&mut self, namespace: &str) {
        self.namespace = Some(namespace.to_owned());
    }

    /// Starts it; with `bound`, it ends with the thread that called this.
    pub(crate) fn start(&mut self, arguments: &[String], bound: bool) -> Result<()> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.join(format!("{}.log", self.name)))?;
        // Each of these becomes the next, so that the number stays.
        let mut command = if bound {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL"]);
            command
        } else {
            Command::new("setsid")
        };
        if let Some(namespace) = &self.namespace {
            command.arg("nsenter");
            command.arg(format!("--net=/run/netns/{namespace}"));
        }
        let child = command
            .arg(&self.program)
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

    /// Its name, and whether it runs.
    pub(crate) fn status(&mut self) -> String {
        let state = if self.is_alive() {
            "runs"
        } else {
            "does not run"
        };
        let pid = self
            .pid()
            .map_or_else(String::new, |pid| format!(" ({pid})"));
        format!("{} {state}{pid}", self.name)
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
