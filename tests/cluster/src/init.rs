//! The first process of a node: it makes the node's view of the file system, starts the node's servers,
//! starts them again when they end, and buries everybody else's children.
//!
//! Invariant: all mounts are the node's own. What a kubelet would write for the whole machine (sysctls)
//! it writes to files that lie over it.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    mount::{MsFlags, mount},
    sys::wait::{WaitStatus, wait},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use crate::cgroup::{self, Hierarchy};

/// How long containerd may take to answer, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Before a server is started again.
const PAUSE: Duration = Duration::from_secs(1);
const NONE: Option<&str> = None;
/// What a kubelet sets, and is the whole machine's.
const SYSCTLS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];
/// The network namespace's own. Replies of a Service's pod to one of its own node pass the bridge, where
/// they must be seen.
const NETWORK: [(&str, &str); 7] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("bridge/bridge-nf-call-iptables", "1"),
    ("bridge/bridge-nf-call-ip6tables", "1"),
];

/// What a node is made of.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Plan {
    pub(crate) name: String,
    /// Where its files are.
    pub(crate) directory: PathBuf,
    /// Where its programs are looked for.
    pub(crate) path: String,
    pub(crate) address: String,
    /// Archives for containerd, when they are not imported yet.
    pub(crate) images: Vec<PathBuf>,
    /// What runs, in this order: containerd first.
    pub(crate) servers: Vec<Server>,
}

/// One program that runs as long as the node does.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
}

/// Runs a node until it is killed. To be called as the first process of fresh namespaces.
///
/// # Errors
/// The node cannot be made.
pub fn run(plan: &Path) -> Result<()> {
    let plan: Plan = serde_json::from_slice(&fs::read(plan)?)?;
    let hierarchies = cgroup::hierarchies()?;
    prepare(&plan, &hierarchies).context("making the node's file system")?;
    let mut servers = plan.servers.iter();
    let mut running = Vec::new();
    let first = servers.next().context("a node without servers")?;
    running.push((start(&plan, first)?, first));
    import(&plan)?;
    for server in servers {
        running.push((start(&plan, server)?, server));
    }
    fs::write(plan.directory.join("started"), "")?;
    loop {
        let ended = match wait() {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => pid,
            Ok(_) => continue,
            Err(error) => bail!("nobody is left: {error}"),
        };
        if let Some((pid, server)) = running.iter_mut().find(|(pid, _)| *pid == ended) {
            thread::sleep(PAUSE);
            *pid = start(&plan, server)?;
        }
    }
}

fn start(plan: &Plan, server: &Server) -> Result<Pid> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(plan.directory.join(format!("{}.log", server.name)))?;
    let child = Command::new(&server.program)
        .arg0(&server.name)
        .args(&server.arguments)
        .env("PATH", &plan.path)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {}", server.name))?;
    Ok(Pid::from_raw(child.id().try_into()?))
}

/// Waits for containerd, and brings it the images.
fn import(plan: &Plan) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let ctr = |arguments: &[&str]| -> Result<bool> {
        let output = Command::new("ctr")
            .args(["--namespace", "k8s.io"])
            .args(arguments)
            .env("PATH", &plan.path)
            .output()
            .context("starting ctr")?;
        Ok(output.status.success())
    };
    while !ctr(&["version"])? {
        if Instant::now() >= deadline {
            bail!("containerd does not answer");
        }
        thread::sleep(Duration::from_millis(50));
    }
    for image in &plan.images {
        let path = image.to_string_lossy();
        if !ctr(&["images", "import", &path])? {
            bail!("containerd does not take {path}");
        }
    }
    Ok(())
}

fn prepare(plan: &Plan, hierarchies: &[Hierarchy]) -> Result<()> {
    let root = Path::new("/");
    mount(
        NONE,
        root,
        NONE,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        NONE,
    )?;
    fresh("proc", "/proc", None)?;
    fs::write("/proc/sys/kernel/hostname", &plan.name)?;
    fresh("sysfs", "/sys", None)?;
    cgroup::mount_own(hierarchies)?;
    fresh("bpf", "/sys/fs/bpf", Some("mode=700"))?;
    // A kernel may have been built without either.
    let _ = fresh("tracefs", "/sys/kernel/tracing", None);
    let _ = fresh("securityfs", "/sys/kernel/security", None);
    for (name, value) in NETWORK {
        let file = Path::new("/proc/sys/net").join(name);
        if file.exists() {
            fs::write(&file, value).with_context(|| format!("setting {name}"))?;
        }
    }
    let own = plan.directory.join("own");
    fs::create_dir_all(&own)?;
    for (name, value) in SYSCTLS {
        over(&own, &Path::new("/proc/sys").join(name), value)?;
    }
    // A kubelet knows by these that its node was started anew, and two nodes apart.
    let boot = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    over(&own, Path::new("/proc/sys/kernel/random/boot_id"), &boot)?;
    let machine = own.join("machine-id");
    if !machine.exists() {
        fs::write(&machine, boot.replace('-', ""))?;
    }
    let machine = fs::read_to_string(machine)?;
    fresh("tmpfs", "/run", Some("mode=755"))?;
    fresh("tmpfs", "/var/lib", Some("mode=755"))?;
    for directory in ["/run/netns", "/run/lock", "/var/lib/dbus"] {
        fs::create_dir_all(directory)?;
    }
    fs::write("/var/lib/dbus/machine-id", &machine)?;
    for (name, place) in [
        ("kubelet", "/var/lib/kubelet"),
        ("containerd", "/var/lib/containerd"),
        ("cni", "/var/lib/cni"),
        ("log", "/var/log"),
    ] {
        let source = plan.directory.join(name);
        fs::create_dir_all(&source)?;
        fs::create_dir_all(place)?;
        bind(&source, Path::new(place))?;
    }
    let hosts = format!(
        "127.0.0.1 localhost\n::1 localhost\n{} {}\n",
        plan.address, plan.name
    );
    for (file, content) in [
        ("/etc/machine-id", machine.as_str()),
        ("/etc/hostname", &plan.name),
        ("/etc/hosts", &hosts),
        // No name server of the machine's is to be reached from here.
        ("/etc/resolv.conf", ""),
    ] {
        over(&own, Path::new(file), content)?;
    }
    // Pods see what is mounted later, and what their agents mount is seen.
    mount(NONE, root, NONE, MsFlags::MS_REC | MsFlags::MS_SHARED, NONE)?;
    Ok(())
}

fn fresh(kind: &str, place: &str, options: Option<&str>) -> Result<()> {
    mount(Some(kind), place, Some(kind), MsFlags::empty(), options)
        .with_context(|| format!("mounting {place}"))
}

fn bind(source: &Path, place: &Path) -> Result<()> {
    mount(Some(source), place, NONE, MsFlags::MS_BIND, NONE)
        .with_context(|| format!("binding over {}", place.display()))
}

/// Lays a file of the node's own over one of the machine, if there is one.
fn over(own: &Path, file: &Path, content: &str) -> Result<()> {
    if File::open(file).is_err() {
        return Ok(());
    }
    let name = file
        .to_string_lossy()
        .trim_start_matches('/')
        .replace('/', ".");
    let copy = own.join(name);
    fs::write(&copy, content)?;
    bind(&copy, file)
}
