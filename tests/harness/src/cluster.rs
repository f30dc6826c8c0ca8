//! A node, its manifests and the agent that enforces them: the whole path from YAML to packets.
//!
//! Invariant: when a function that changes something returns, the change is in force.

use std::{
    fs, mem,
    net::IpAddr,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use policy_agent::source::manifests::revision_of;
use tempfile::TempDir;

use super::{
    agent::{Agent, Attach, Drop, LOOK},
    topology::{Node, Pod, Wiring},
};

/// A cluster of one node. Fields are dropped in this order: the agent cleans up before its host is
/// gone.
#[derive(Debug)]
pub struct Cluster {
    /// The agent.
    pub agent: Agent,
    /// The node with its namespaces.
    pub node: Node,
    directory: TempDir,
}

impl Cluster {
    /// A node without pods whose agent runs; namespaces and pins are called `prefix-…`.
    pub fn new(prefix: &str, wiring: Wiring, attach: Attach) -> Result<Self> {
        let mut cluster = Self::stopped(prefix, wiring, attach)?;
        cluster.agent.start(&[])?;
        Ok(cluster)
    }

    /// The same, but its agent was not started yet.
    pub fn stopped(prefix: &str, wiring: Wiring, attach: Attach) -> Result<Self> {
        let node = Node::new(prefix, wiring)?;
        let directory = TempDir::with_prefix("policy-tests-")?;
        let manifests = directory.path().join("manifests");
        fs::create_dir(&manifests)?;
        let agent = Agent::new(&node.host, attach, &manifests, directory.path());
        Ok(Self {
            agent,
            node,
            directory,
        })
    }

    /// Another node without pods takes the place of this one, which is returned; manifests and pins stay.
    /// The agent must not run.
    pub fn renew_node(&mut self) -> Result<Node> {
        let node = self.node.another()?;
        self.agent.move_to(&node.host);
        Ok(mem::replace(&mut self.node, node))
    }

    /// The directory that the agent follows.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.directory.path().join("manifests")
    }

    /// Writes a file of manifests as it is and waits for nothing.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let aside = self.directory.path().join("half-written");
        fs::write(&aside, text)?;
        fs::rename(aside, self.manifests().join(file))?;
        Ok(())
    }

    /// Writes a file of manifests – documents separated by `---` – and waits until they are in
    /// force, if the agent runs.
    pub fn apply(&mut self, file: &str, text: &str) -> Result<()> {
        self.write(file, text)?;
        self.await_revision()
    }

    /// Removes a file and waits until its objects are gone, if the agent runs.
    pub fn remove(&mut self, file: &str) -> Result<()> {
        fs::remove_file(self.manifests().join(file))?;
        self.await_revision()
    }

    /// Waits until what the directory says now is in force, if the agent runs.
    pub fn await_revision(&mut self) -> Result<()> {
        if self.agent.status().is_err() {
            return Ok(());
        }
        let written = revision_of(&self.manifests())?;
        let what = format!("revision {written} is in force");
        self.agent.wait(&what, |agent| {
            let sources = agent.status()?.sources;
            let mut revisions = sources.iter().filter_map(|one| one.revision.as_deref());
            Ok(revisions.any(|revision| revision == written.as_str()))
        })
    }

    /// Makes a pod, called `namespace/name`, with labels (`key: value, …`), and waits until it is
    /// enforced, if the agent runs.
    pub fn add_pod(&mut self, pod: &str, labels: &str, addresses: &[&str]) -> Result<&Pod> {
        let parsed: Vec<IpAddr> = addresses
            .iter()
            .map(|address| address.parse())
            .collect::<Result<_, _>>()?;
        self.declare_pod(pod, labels, addresses)?;
        self.node.add_pod(pod, &parsed)?;
        let runs = self.agent.status().is_ok();
        if runs {
            self.agent.wait(&format!("{pod} is enforced"), |agent| {
                let mut endpoints = agent.status()?.endpoints;
                endpoints.retain(|one| one.enforced);
                let mut names = endpoints.iter().filter_map(|one| one.pod.as_deref());
                Ok(names.any(|name| name == pod))
            })?;
        }
        self.pod(pod)
    }

    /// Writes a pod's manifest, again with other labels if need be; it needs no interface.
    pub fn declare_pod(&mut self, pod: &str, labels: &str, addresses: &[&str]) -> Result<()> {
        let (namespace, name) = pod.split_once('/').context("namespace/name")?;
        let text = pod_manifest(namespace, name, labels, addresses);
        self.apply(&format!("pod-{namespace}-{name}.yaml"), &text)
    }

    /// A pod by `namespace/name`.
    pub fn pod(&self, name: &str) -> Result<&Pod> {
        self.node.pod(name)
    }

    /// How much was logged so far: the mark from which [`Self::dropped`] looks.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.agent.mark()
    }

    /// The first packet dropped after `mark` that `wanted` accepts, `None` when none came in time.
    pub fn dropped(
        &self,
        mark: u64,
        within: Duration,
        wanted: impl Fn(&Drop) -> bool,
    ) -> Option<Drop> {
        let deadline = Instant::now() + within;
        loop {
            let mut drops = self.agent.drops_since(mark).into_iter();
            let found = drops.find(|drop| wanted(drop));
            if found.is_some() || Instant::now() >= deadline {
                return found;
            }
            thread::sleep(LOOK);
        }
    }
}

/// A pod's manifest.
#[must_use]
pub fn pod_manifest(namespace: &str, name: &str, labels: &str, addresses: &[&str]) -> String {
    let ips: Vec<_> = addresses
        .iter()
        .map(|address| format!("{{ip: \"{address}\"}}"))
        .collect();
    format!(
        "apiVersion: v1\n\
         kind: Pod\n\
         metadata: {{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}\n\
         spec: {{containers: [{{name: main, image: none}}]}}\n\
         status: {{phase: Running, podIPs: [{}]}}\n",
        ips.join(", ")
    )
}
