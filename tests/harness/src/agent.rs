//! The real agent as a process inside a node's host namespace.
//!
//! Owns the process, its pin directory and its log. Invariant: dropping it leaves no program, pin
//! or process behind.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use policy_agent::{
    agent::{self, Snapshot},
    datapath::PinDir,
};
use policy_common::Reason;
use serde::Deserialize;

use super::netns::{Handle, Netns};

/// The agent, built with the tests.
const PROGRAM: &str = "policy-test-agent";
/// How long the agent may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a state that comes by itself is looked for.
pub(super) const LOOK: Duration = Duration::from_millis(10);

/// How programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// TCX links.
    Tcx,
    /// Filters of a clsact qdisc.
    Clsact,
}

impl Attach {
    const fn argument(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// A packet that the agent says was dropped.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Drop {
    /// `ingress` or `egress`.
    pub direction: String,
    /// Namespace and name; `None` while the pod is not known.
    pub pod: Option<String>,
    /// The other side as people read it.
    pub peer: Option<String>,
    /// The protocol as people read it.
    pub protocol: String,
    /// The destination port.
    pub port: Option<u16>,
    /// Name of the [`Reason`].
    pub reason: String,
    /// Names of the policies that isolate the pod.
    pub policies: Option<String>,
}

impl Drop {
    /// Whether it was dropped for this reason.
    #[must_use]
    pub fn is(&self, reason: Reason) -> bool {
        self.reason == reason.name()
    }

    /// Whether the other side has this address.
    #[must_use]
    pub fn is_about(&self, address: IpAddr) -> bool {
        let address = address.to_string();
        self.peer
            .as_ref()
            .is_some_and(|peer| *peer == address || peer.ends_with(&format!("({address})")))
    }
}

/// One line of the log that says that a packet was dropped.
#[derive(Deserialize)]
struct Line {
    message: String,
    #[serde(flatten)]
    rest: serde_json::Value,
}

/// The agent of one node; it may run or not.
#[derive(Debug)]
pub struct Agent {
    host: Handle,
    pins: PinDir,
    attach: Attach,
    manifests: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Agent {
    /// An agent that does not run yet, for the manifests in a directory; `directory` keeps its log.
    #[must_use]
    pub fn new(host: &Netns, attach: Attach, manifests: &Path, directory: &Path) -> Self {
        Self {
            host: host.handle(),
            pins: PinDir::new(Path::new("/sys/fs/bpf").join(host.name())),
            attach,
            manifests: manifests.to_owned(),
            log: directory.join("agent.log"),
            child: None,
        }
    }

    /// A second agent of the same host, with pins of its own.
    #[must_use]
    pub fn beside(&self, directory: &Path) -> Self {
        let name = self.pins.path().file_name().unwrap_or_default();
        let second = format!("{}-second", name.to_string_lossy());
        let pins = PinDir::new(self.pins.path().with_file_name(second));
        Self::sharing(self, pins, directory.join("second.log"))
    }

    /// The one that goes on for it, with the same pins; `directory` keeps its log.
    #[must_use]
    pub fn after(&self, directory: &Path) -> Self {
        Self::sharing(self, self.pins.clone(), directory.join("agent.log"))
    }

    /// From its next start on it runs in this host, with the same pins.
    pub fn move_to(&mut self, host: &Netns) {
        self.host = host.handle();
    }

    fn sharing(first: &Self, pins: PinDir, log: PathBuf) -> Self {
        Self {
            host: first.host.clone(),
            pins,
            attach: first.attach,
            manifests: first.manifests.clone(),
            log,
            child: None,
        }
    }

    /// Where its maps and links are pinned.
    #[must_use]
    pub fn pin_path(&self) -> &Path {
        self.pins.path()
    }

    /// How it attaches.
    #[must_use]
    pub fn attach(&self) -> Attach {
        self.attach
    }

    /// Starts it, with further arguments, and waits for nothing.
    pub fn begin(&mut self, arguments: &[&str]) -> Result<()> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        self.begin_with(arguments, log)
    }

    /// The same, with a log that goes elsewhere.
    pub fn begin_with(&mut self, arguments: &[&str], log: impl Into<Stdio>) -> Result<()> {
        let mut command = self.command("run")?;
        command
            .arg("--manifests")
            .arg(&self.manifests)
            .args(["--attach", self.attach.argument(), "--log-format", "json"])
            .args(arguments)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if !arguments.contains(&"--drop-rate") {
            // Every drop is to be seen.
            command.args(["--drop-rate", "100000"]);
        }
        let child = self.host.run(|| command.spawn())??;
        self.child = Some(child);
        Ok(())
    }

    /// Starts it, with further arguments, and waits until it enforces.
    pub fn start(&mut self, arguments: &[&str]) -> Result<()> {
        self.begin(arguments)?;
        // It does not answer while the kernel verifies its programs.
        self.wait("it enforces", |agent| {
            let snapshot = agent.query().ok().flatten();
            Ok(snapshot.is_some_and(|snapshot| snapshot.agent.enforcing))
        })
    }

    /// Ends it as an operator does (SIGTERM); what it enforces stays.
    pub fn stop(&mut self) -> Result<()> {
        self.end(Signal::SIGTERM)
    }

    /// Ends it as a crash does (SIGKILL); what it enforces stays.
    pub fn kill(&mut self) -> Result<()> {
        self.end(Signal::SIGKILL)
    }

    /// Keeps it from doing anything (SIGSTOP) until [`Self::thaw`]: what happens meanwhile happens
    /// before it notices. It does not answer [`Self::status`] either.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Lets it open so many more files, or, `None`, as many as the system allows: with few it goes on, reads
    /// manifests and answers, but cannot load programs.
    ///
    /// # Errors
    /// It does not run.
    pub fn spare_files(&self, spare: Option<usize>) -> Result<()> {
        let child = self.child.as_ref().context("no agent runs")?;
        let process = Path::new("/proc").join(child.id().to_string());
        let most = match spare {
            Some(spare) => fs::read_dir(process.join("fd"))?.count() + spare,
            None => {
                let limits = fs::read_to_string(process.join("limits"))?;
                let line = limits
                    .lines()
                    .find(|line| line.starts_with("Max open files"));
                let most = line.and_then(|line| line.split_whitespace().nth(4)?.parse().ok());
                most.context("/proc/PID/limits has no number of files")?
            }
        };
        let status = Command::new("prlimit")
            .args([format!("--pid={}", child.id()), format!("--nofile={most}:")])
            .status()?;
        ensure!(status.success(), "prlimit: {status}");
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().context("no agent runs")?;
        Ok(kill(Pid::from_raw(child.id().cast_signed()), signal)?)
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        kill(Pid::from_raw(child.id().cast_signed()), signal)?;
        child.wait()?;
        Ok(())
    }

    /// Runs `policy-agent cleanup`.
    pub fn cleanup(&self) -> Result<()> {
        self.subcommand("cleanup", &[]).map(drop)
    }

    /// Runs a subcommand that takes the pin directory, in the host's namespace; what it printed.
    pub fn subcommand(&self, name: &str, arguments: &[&str]) -> Result<String> {
        let output = self.output(name, arguments)?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("{name}: {}: {}", output.status, errors.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a subcommand as [`Self::subcommand`] does, however it ends.
    pub fn output(&self, name: &str, arguments: &[&str]) -> Result<Output> {
        let mut command = self.command(name)?;
        command.args(arguments).stdin(Stdio::null());
        Ok(self.host.run(|| command.output())??)
    }

    /// What `policy-agent check` says of the host, whatever it thinks of it.
    pub fn check(&self) -> Result<String> {
        let mut command = Command::new(program()?);
        command.arg("check").stdin(Stdio::null());
        let output = self.host.run(|| command.output())??;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(&self, subcommand: &str) -> Result<Command> {
        let mut command = Command::new(program()?);
        command
            .arg(subcommand)
            .arg("--pin-path")
            .arg(self.pins.path());
        Ok(command)
    }

    /// What the running agent knows.
    pub fn status(&self) -> Result<Snapshot> {
        self.query()?.context("no agent runs")
    }

    fn query(&self) -> Result<Option<Snapshot>> {
        Ok(agent::query(&self.pins)?)
    }

    /// Waits until `done` says so; an error, with the log's end, when that takes too long or the
    /// agent ends.
    pub fn wait(
        &mut self,
        what: &str,
        mut done: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                self.child = None;
                bail!("the agent ended: {status}\n{}", self.log_end());
            }
            if done(self)? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let status = self.query();
                bail!(
                    "waited in vain until {what}\n{}\n{status:?}\n{}",
                    self.log_end(),
                    self.threads()
                );
            }
            thread::sleep(LOOK);
        }
    }

    /// All that it logged so far, in all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How many bytes it logged so far: the mark from which [`Self::drops_since`] looks.
    #[must_use]
    pub fn mark(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |log| log.len())
    }

    /// The packets that it said were dropped, in all its runs.
    #[must_use]
    pub fn drops(&self) -> Vec<Drop> {
        self.drops_since(0)
    }

    /// The packets that it said were dropped after the mark.
    #[must_use]
    pub fn drops_since(&self, mark: u64) -> Vec<Drop> {
        let mut log = String::new();
        let read = File::open(&self.log).and_then(|mut file| {
            file.seek(SeekFrom::Start(mark))?;
            file.read_to_string(&mut log)
        });
        if read.is_err() {
            return Vec::new();
        }
        log.lines()
            .filter_map(|line| serde_json::from_str::<Line>(line).ok())
            .filter(|line| line.message == "dropped")
            .filter_map(|line| serde_json::from_value(line.rest).ok())
            .collect()
    }

    /// What its threads wait for in the kernel.
    fn threads(&self) -> String {
        let Some(child) = &self.child else {
            return String::new();
        };
        let tasks = fs::read_dir(format!("/proc/{}/task", child.id()));
        let tasks = tasks.into_iter().flatten().filter_map(Result::ok);
        let read = |task: &fs::DirEntry, name| {
            fs::read_to_string(task.path().join(name)).unwrap_or_default()
        };
        let texts = tasks.map(|task| format!("{}{}", read(&task, "comm"), read(&task, "stack")));
        texts.collect::<Vec<_>>().join("\n")
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl std::ops::Drop for Agent {
    fn drop(&mut self) {
        if let Err(error) = self.kill().and_then(|()| self.cleanup()) {
            let path = self.pins.path().display();
            eprintln!("what the agent enforced in {path} stays behind: {error:#}");
        }
    }
}

/// Cargo puts programs beside the directory of the test programs.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let mut places = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|place| place.join(PROGRAM));
    places
        .find(|path| path.is_file())
        .with_context(|| format!("{PROGRAM} is not built: run `cargo build -p policy-suites`"))
}
