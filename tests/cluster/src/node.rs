//! A node, from outside: what it is told, its life, and commands in it.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    cgroup,
    control_plane::{ADMINISTRATOR, Server as Api, write_changed},
    images,
    init::{Plan, Server},
    network, packages,
    process::{Process, go_on},
};

/// How long a node may take to start its servers, images and all, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// One node of a cluster.
#[derive(Debug)]
pub struct Node {
    number: u8,
    name: String,
    /// Of its cluster, also the name of its control groups.
    cluster: String,
    directory: PathBuf,
    process: Process,
}

impl Node {
    /// The node of a number; `program` is this crate's.
    pub(crate) fn new(number: u8, cluster: &str, state: &Path, program: &Path) -> Self {
        let name = name(number);
        let directory = state.join(&name);
        let process = Process::of(program, &name, state);
        Self {
            number,
            name,
            cluster: cluster.to_owned(),
            directory,
            process,
        }
    }

    /// Its name in the cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its Node object: with its pods' networks chosen here, everything that needs them can be written
    /// before anything runs.
    pub(crate) fn object(&self) -> serde_json::Value {
        let pods = network::pods(self.number);
        json!({
            "metadata": {"name": self.name, "labels": {"kubernetes.io/hostname": self.name}},
            "spec": {"podCIDR": pods[0], "podCIDRs": pods},
        })
    }

    /// Starts it in its network namespace; it is not waited for.
    pub(crate) fn start(
        &mut self,
        namespace: &str,
        api: &Api,
        kube: &Path,
        images: &[PathBuf],
        bound: bool,
    ) -> Result<()> {
        fs::create_dir_all(&self.directory)?;
        let _ = fs::remove_file(self.directory.join("started"));
        let plan = self.plan(api, kube, images)?;
        let file = self.directory.join("plan.json");
        fs::write(&file, serde_json::to_vec(&plan)?)?;
        self.process.enter(namespace);
        let words = ["node", "--cluster", &self.cluster, "--plan"].map(str::to_owned);
        let mut arguments = words.to_vec();
        arguments.extend([file.display().to_string(), self.name.clone()]);
        self.process.start(&arguments, bound)
    }

    /// Waits until its servers are started.
    pub(crate) fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.directory.join("started").exists() {
            go_on()?;
            if !self.is_alive() || Instant::now() >= deadline {
                bail!("{} does not start:\n{}", self.name, self.process.log_end());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Ends it at once, with all that runs on it.
    ///
    /// # Errors
    /// It cannot be ended.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.process.end(Signal::SIGKILL)
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.process.is_alive()
    }

    pub(crate) fn status(&mut self) -> String {
        self.process.status()
    }

    /// A program on the node.
    ///
    /// # Errors
    /// The node does not run.
    pub fn command(&self, program: &str) -> Result<Command> {
        let outer = self.process.pid().context("the node does not run")?;
        let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"))?;
        let init = children.trim();
        let mut command = Command::new("nsenter");
        command.args(["-t", init, "-m", "-u", "-i", "-n", "-p", "-C", program]);
        command.env("PATH", search_path()?);
        Ok(command)
    }

    fn plan(&self, api: &Api, kube: &Path, images: &[PathBuf]) -> Result<Plan> {
        let packages = packages::unpacked()?;
        let configuration = self.directory.join("configuration");
        let plugins = configuration.join("cni");
        fs::create_dir_all(&plugins)?;
        let file = |name: &str| configuration.join(name);
        let shown = |path: &Path| path.display().to_string();
        api.write_kubeconfig(&file("kubelet.kubeconfig"), &self.name)?;
        api.write_kubeconfig(&file("kube-proxy.kubeconfig"), ADMINISTRATOR)?;
        for (path, content) in [
            (file("containerd.toml"), containerd(&packages, &plugins)),
            (plugins.join("10-cluster.conflist"), self.plugins()),
            (file("kubelet.yaml"), kubelet()),
            (
                file("kube-proxy.yaml"),
                self.proxy(&file("kube-proxy.kubeconfig")),
            ),
        ] {
            write_changed(&path, &content)?;
        }
        let addresses = network::addresses(self.number);
        let server = |name: &str, program: PathBuf, arguments: Vec<String>| Server {
            name: name.to_owned(),
            program,
            arguments,
        };
        let of_kube = |name: &str| kube.join(name);
        Ok(Plan {
            name: self.name.clone(),
            directory: self.directory.clone(),
            path: search_path()?,
            address: addresses[0].clone(),
            images: images.to_vec(),
            servers: vec![
                server(
                    "containerd",
                    packages.join("usr/bin/containerd"),
                    vec!["--config".to_owned(), shown(&file("containerd.toml"))],
                ),
                server(
                    "kubelet",
                    of_kube("kubelet"),
                    vec![
                        format!("--config={}", shown(&file("kubelet.yaml"))),
                        format!("--kubeconfig={}", shown(&file("kubelet.kubeconfig"))),
                        format!("--hostname-override={}", self.name),
                        format!("--node-ip={}", addresses.join(",")),
                    ],
                ),
                server(
                    "kube-proxy",
                    of_kube("kube-proxy"),
                    vec![format!("--config={}", shown(&file("kube-proxy.yaml")))],
                ),
            ],
        })
    }

    fn plugins(&self) -> String {
        let [four, six] = network::pods(self.number);
        json!({"cniVersion": "1.0.0", "name": "cluster", "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isDefaultGateway": true,
                "hairpinMode": true,
                "ipMasq": false,
                // Below /run, so that a node that starts anew has all addresses again.
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni",
                    "ranges": [[{"subnet": four}], [{"subnet": six}]],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
        ]})
        .to_string()
    }

    fn proxy(&self, kubeconfig: &Path) -> String {
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": kubeconfig},
            "clusterCIDR": network::PODS.join(","),
            "hostnameOverride": self.name,
            // Sizes and times of connection tracking are the whole machine's.
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpCloseWaitTimeout": "0s",
                "tcpEstablishedTimeout": "0s",
            },
            "nftables": {"minSyncPeriod": "0s"},
        })
        .to_string()
    }
}

/// The name of the node of a number.
pub(crate) fn name(number: u8) -> String {
    format!("node{number}")
}

/// Where programs are on a node.
fn search_path() -> Result<String> {
    Ok(format!(
        "{0}/usr/bin:{0}/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
        packages::unpacked()?.display()
    ))
}

fn containerd(packages: &Path, plugins: &Path) -> String {
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Where root has no CAP_SYS_RESOURCE nothing else starts.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{packages}/usr/lib/cni"
    conf_dir = "{plugins}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"#,
        pause = images::PAUSE,
        packages = packages.display(),
        plugins = plugins.display(),
    )
}

/// A kubelet asks nobody who asks it: only the control plane and the nodes themselves reach it.
fn kubelet() -> String {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "clusterDomain": "cluster.local",
        "resolvConf": "/etc/resolv.conf",
        // The disk is the machine's.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
        "localStorageCapacityIsolation": false,
        "nodeStatusUpdateFrequency": "4s",
        "syncFrequency": "10s",
        "serializeImagePulls": false,
    })
    .to_string()
}

/// Becomes a node: enters its control groups, then its namespaces, whose first process ends with this
/// one. In the node's network namespace already.
///
/// # Errors
/// It cannot; otherwise this does not return.
pub fn become_node(cluster: &str, plan: &Path) -> Result<()> {
    let name: Plan = serde_json::from_slice(&fs::read(plan)?)?;
    cgroup::join(&cgroup::hierarchies()?, cluster, &name.name)?;
    let error = Command::new("unshare")
        .args(["--mount", "--uts", "--ipc", "--pid", "--cgroup", "--fork"])
        .arg("--kill-child")
        .arg(std::env::current_exe()?)
        .arg("init")
        .arg("--plan")
        .arg(plan)
        .arg(name.name)
        .exec();
    Err(error).context("starting unshare")
}
