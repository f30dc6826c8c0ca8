//! The whole of a cluster: networks, the control plane, nodes with their images, and the agent as it is
//! shipped.
//!
//! Invariant: all that there is of it beyond its directory goes by its name, so that it can be removed by
//! somebody who did not start it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use http::Method;
use nix::sys::signal::Signal;

use crate::{
    Api, ControlPlane, binary, cgroup,
    control_plane::{SERVICES, Server},
    images,
    network::{self, Network},
    node::{self, Node},
    process::{Process, go_on},
};

/// An argument with which the agent is shipped.
const WAITS: &str = "--wait";
/// How many nodes there are.
const NODES: u8 = 2;
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A cluster in a directory.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    directory: PathBuf,
    port: u16,
    network: Network,
    /// Leads this machine's loopback to the control plane.
    way: Process,
    plane: ControlPlane,
    nodes: Vec<Node>,
    bound: bool,
}

impl Cluster {
    /// A cluster for as long as this is not dropped. `program` is this crate's; what a killed one of this
    /// port left is removed first.
    ///
    /// # Errors
    /// It cannot be built or started.
    pub fn start(directory: &Path, port: u16, program: &Path) -> Result<Self> {
        let mut cluster = Self::in_directory(directory, port, program, true)?;
        cluster.down()?;
        cluster.up()?;
        Ok(cluster)
    }

    /// The cluster of a directory, which may run or not, with this port for the server and the two above
    /// it.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn lasting(directory: &Path, port: u16, program: &Path) -> Result<Self> {
        Self::in_directory(directory, port, program, false)
    }

    fn in_directory(directory: &Path, port: u16, program: &Path, bound: bool) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let directory = fs::canonicalize(directory)?;
        let name = format!("policy-cluster-{port}");
        let network = Network::new(&name);
        let names: Vec<String> = (1..=NODES).map(node::name).collect();
        let centre = network.centre();
        Ok(Self {
            way: Process::of(program, "forward", &directory),
            plane: ControlPlane::of_nodes(&directory, port, &centre, &names, bound)?,
            nodes: (1..=NODES)
                .map(|number| Node::new(number, &name, &directory, program))
                .collect(),
            name,
            directory,
            port,
            network,
            bound,
        })
    }

    /// Starts what does not run, and waits until all nodes are ready. What fails leaves nothing behind.
    ///
    /// # Errors
    /// Something ends, or is not ready in time.
    pub fn up(&mut self) -> Result<()> {
        let started = self.try_up();
        if started.is_err() {
            self.end()?;
        }
        started
    }

    fn try_up(&mut self) -> Result<()> {
        binary::kube()?;
        let images = self.directory.join("images");
        if !images.join("busybox.tar").exists() {
            images::write(&images)?;
        }
        self.network.make_centre()?;
        if !self.way.is_alive() {
            let ports = [self.port, self.port + 1].map(|port| port.to_string());
            let mut arguments = vec!["forward".to_owned(), self.network.centre()];
            arguments.extend(ports);
            self.way.start(&arguments, self.bound)?;
        }
        self.plane.up()?;
        self.start_nodes()?;
        let api = self.api()?;
        self.wait("the nodes are ready", || {
            let nodes = api.must(Method::GET, "/api/v1/nodes", None)?;
            let ready = nodes["items"].as_array().map_or(0, |nodes| {
                let is_ready = |node: &&serde_json::Value| {
                    node["status"]["conditions"].as_array().is_some_and(|all| {
                        all.iter()
                            .any(|one| one["type"] == "Ready" && one["status"] == "True")
                    })
                };
                nodes.iter().filter(is_ready).count()
            });
            Ok(ready == usize::from(NODES))
        })?;
        self.wait("pods may be made", || {
            let path = "/api/v1/namespaces/default/serviceaccounts/default";
            Ok(api.ask(Method::GET, path, None)?.0 == 200)
        })
    }

    fn start_nodes(&mut self) -> Result<()> {
        let mut archives: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(self.directory.join("images"))? {
            archives.push(entry?.path());
        }
        let (_, server) = self.inside();
        let api = self.plane.api()?;
        for (number, node) in (1..).zip(&mut self.nodes) {
            if node.is_alive() {
                continue;
            }
            let (status, answer) = api.ask(Method::POST, "/api/v1/nodes", Some(&node.object()))?;
            ensure!(matches!(status, 201 | 409), "{}: {answer}", node.name());
            self.network.make_node(number, NODES)?;
            let namespace = self.network.node(number);
            node.start(&namespace, &server, &self.directory, &archives, self.bound)?;
        }
        for node in &mut self.nodes {
            node.wait()?;
        }
        Ok(())
    }

    /// The control plane's network namespace, and the server for those who are in it or on a node.
    pub(crate) fn inside(&self) -> (String, Server) {
        let server = Server {
            url: format!("https://{}:{}", network::GATEWAY, self.port),
            authority: self.plane.authority(),
        };
        (self.network.centre(), server)
    }

    /// Where its state is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Has every node take an image from an archive.
    ///
    /// # Errors
    /// There is no archive, or a node does not take it.
    pub fn import(&self, archive: &Path) -> Result<()> {
        // A node sees what is in the cluster's directory.
        for node in &self.nodes {
            let mut import = node.command("ctr")?;
            import.args(["--namespace", "k8s.io", "images", "import"]);
            run(import.arg(archive))?;
        }
        Ok(())
    }

    /// Runs `kubectl`; what it says.
    ///
    /// # Errors
    /// It fails: what it says then.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        run(self.plane.command("kubectl").args(arguments))
    }

    /// Installs the agent as it is shipped, on nodes that have its image, with the ranges of this cluster's
    /// Services, and waits until it is ready.
    ///
    /// # Errors
    /// It is not applied, or not ready in time.
    pub fn install_agent(&self) -> Result<()> {
        let base = deployment("kustomize");
        let base = self.kubectl(&["kustomize", &base])?;
        let own = format!("- {WAITS}\n");
        let (before, after) = base
            .split_once(&own)
            .with_context(|| format!("the agent is not started with {WAITS}"))?;
        let indent = before.rsplit('\n').next().unwrap_or_default();
        let ranges = SERVICES
            .split(',')
            .map(|range| format!("{indent}- --service-cidr={range}\n"));
        let manifests = self.directory.join("agent.yaml");
        fs::write(
            &manifests,
            format!("{before}{own}{}{after}", ranges.collect::<String>()),
        )?;
        self.kubectl(&["apply", "--filename", &manifests.display().to_string()])?;
        self.wait_for_agent()
    }

    /// Waits until the agent is on every node as its DaemonSet has it now.
    ///
    /// # Errors
    /// It is not in time: what the nodes say.
    pub fn wait_for_agent(&self) -> Result<()> {
        let timeout = format!("--timeout={}s", PATIENCE.as_secs());
        let name = "daemonset/policy-agent";
        let rollout = [
            "--namespace=kube-system",
            "rollout",
            "status",
            name,
            &timeout,
        ];
        self.kubectl(&rollout).map(drop).or_else(|error| {
            let system = "--namespace=kube-system";
            let pods = self.kubectl(&[system, "describe", "pods"]);
            let logs = self.kubectl(&[system, "logs", name, "--tail=20"]);
            bail!(
                "{error:#}\n{}\n{}",
                pods.unwrap_or_default(),
                logs.unwrap_or_default()
            )
        })
    }

    /// Ends all of it and removes its directory.
    ///
    /// # Errors
    /// Something cannot be ended or removed.
    pub fn down(&mut self) -> Result<()> {
        self.end()?;
        fs::remove_dir_all(&self.directory)?;
        Ok(fs::create_dir_all(&self.directory)?)
    }

    fn end(&mut self) -> Result<()> {
        let mut ended = Ok(());
        for node in &mut self.nodes {
            ended = ended.and(node.end());
        }
        ended = ended.and(self.plane.down());
        ended = ended.and(self.way.end(Signal::SIGKILL));
        ended = ended.and(self.network.remove(NODES));
        ended.and(cgroup::remove(&self.name))
    }

    /// Which parts of it run.
    pub fn status(&mut self) -> String {
        let mut lines = vec![self.plane.status(), self.way.status()];
        lines.extend(self.nodes.iter_mut().map(Node::status));
        lines.join("\n")
    }

    /// The control plane.
    pub fn plane(&mut self) -> &mut ControlPlane {
        &mut self.plane
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The file with which `kubectl` reaches it.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.plane.kubeconfig()
    }

    /// Who asks the server.
    ///
    /// # Errors
    /// Its configuration cannot be read.
    pub fn api(&self) -> Result<Api> {
        self.plane.api()
    }

    /// Waits until something is so.
    ///
    /// # Errors
    /// It fails, or is not so in time.
    pub fn wait(&self, what: &str, mut is: impl FnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is()? {
            go_on()?;
            if Instant::now() >= deadline {
                bail!("not in {} s: {what}", PATIENCE.as_secs());
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.bound
            && let Err(error) = self.end()
        {
            eprintln!("a cluster stays behind: {error:#}");
        }
    }
}

/// A directory below `deploy/`.
#[must_use]
pub fn deployment(name: &str) -> String {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    deploy.join(name).display().to_string()
}

/// Runs a command; what it writes.
fn run(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{command:?}: {said}{}",
        errors.trim()
    );
    Ok(said)
}
