//! The real agent as a process, in the namespace that plays the host.
//!
//! Owns the process, its pin directory and what it logs. Dropping it ends both the agent and the
//! enforcement.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use policy_harness::Netns;
use serde_json::Value;

use crate::interrupt::Interrupt;

/// How long the agent may take to load its programs, also on a busy machine.
const BEGIN: Duration = Duration::from_secs(30);
/// How long a change of a manifest may take.
const CHANGE: Duration = Duration::from_secs(10);

/// The running agent.
#[derive(Debug)]
pub(crate) struct Agent<'a> {
    program: &'a Path,
    host: &'a Netns,
    pins: PathBuf,
    child: Option<Child>,
    log: Arc<Mutex<Vec<String>>>,
}

impl<'a> Agent<'a> {
    /// Starts it and waits until it enforces.
    pub(crate) fn start(
        program: &'a Path,
        host: &'a Netns,
        manifests: &Path,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let pins = PathBuf::from(format!("/sys/fs/bpf/policy-agent-demo-{}", process::id()));
        let mut command = Command::new(program);
        command
            .arg("run")
            .arg("--manifests")
            .arg(manifests)
            .arg("--pin-path")
            .arg(&pins)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // What the demo shows must not depend on the caller's wishes for other logs.
        command.env_remove("RUST_LOG");
        let mut child = host.start(&mut command)?;
        let stderr = child.stderr.take().context("the agent's log is no pipe")?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                written
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        let mut agent = Self {
            program,
            host,
            pins,
            child: Some(child),
            log,
        };
        agent.wait_until_enforcing(interrupt)?;
        Ok(agent)
    }

    fn wait_until_enforcing(&mut self, interrupt: &Interrupt) -> Result<()> {
        interrupt.until("the agent to enforce", BEGIN, || {
            let log = self.log();
            if log.iter().any(|line| line.contains("enforcing")) {
                return Ok(Some(()));
            }
            let ended = match &mut self.child {
                Some(child) => child.try_wait().context("waiting for the agent")?,
                None => None,
            };
            match ended {
                Some(status) => bail!("the agent ended ({status}):\n{}", log.join("\n")),
                None => Ok(None),
            }
        })
    }

    /// The command that started it, as one would type it.
    pub(crate) fn typed(&self, manifests: &Path) -> String {
        format!(
            "policy-agent run --manifests {} --pin-path {}",
            manifests.display(),
            self.pins.display()
        )
    }

    /// Everything that it has logged.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until `policy-agent status` shows a pod isolated by a policy in both directions.
    pub(crate) fn wait_until_isolated(
        &self,
        pod: &str,
        policy: &str,
        interrupt: &Interrupt,
    ) -> Result<()> {
        interrupt.until("the policy to be in force", CHANGE, || {
            let status = self.status()?;
            let endpoints = status.get("endpoints").and_then(Value::as_array);
            let is_isolated = endpoints.into_iter().flatten().any(|endpoint| {
                endpoint["pod"] == pod
                    && ["ingress", "egress"].iter().all(|direction| {
                        let policies = endpoint[*direction]["policies"].as_array();
                        policies.is_some_and(|all| all.iter().any(|one| one == policy))
                    })
            });
            Ok(is_isolated.then_some(()))
        })
    }

    /// What `policy-agent status --output json` prints.
    pub(crate) fn status(&self) -> Result<Value> {
        let text = self.command(&["status", "--output", "json"])?;
        serde_json::from_str(&text).context("reading the agent's status")
    }

    /// Ends the agent, then the enforcement.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let pid = i32::try_from(child.id()).context("the agent's process id")?;
        // It may have ended by itself.
        let _: nix::Result<()> = kill(Pid::from_raw(pid), Signal::SIGTERM);
        child.wait().context("waiting for the agent to end")?;
        self.command(&["cleanup"])?;
        Ok(())
    }

    fn command(&self, words: &[&str]) -> Result<String> {
        let program = self.program.to_str().context("the agent's path")?;
        let pins = self.pins.to_str().context("the pin directory's path")?;
        let words: Vec<_> = words.iter().copied().chain(["--pin-path", pins]).collect();
        self.host.exec(program, &words)
    }

    /// Where its programs and maps are pinned.
    pub(crate) fn pins(&self) -> PathBuf {
        self.pins.clone()
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("the agent could not be cleaned up: {error:#}");
        }
    }
}
