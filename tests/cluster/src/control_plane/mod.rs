//! etcd and kube-apiserver: their ports, life, and ways to die; with nodes, also who schedules and who
//! controls.

mod arguments;
mod credentials;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use nix::sys::signal::Signal;

pub(crate) use self::{
    arguments::BOTH_SERVICES as SERVICES,
    credentials::{ADMINISTRATOR, Server, write_changed},
};
use crate::{
    Api, Etcd, binary,
    process::{Process, go_on},
};

/// How long the server may take to be ready, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// The programs of the release, each a name of one file.
const PROGRAMS: [&str; 7] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
];

/// A control plane in a directory.
#[derive(Debug)]
pub struct ControlPlane {
    directory: PathBuf,
    ports: Ports,
    etcd: Process,
    server: Process,
    /// Which network namespace they are in, when nodes must reach them; the ports are then there and,
    /// led in, on this machine's loopback.
    namespace: Option<String>,
    /// The nodes' names, by which the server knows them.
    nodes: Vec<String>,
    /// What a control plane with nodes has besides.
    manager: Process,
    scheduler: Process,
    /// It ends with the one who started it.
    bound: bool,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    server: u16,
    etcd: u16,
    peer: u16,
}

impl ControlPlane {
    /// A control plane for as long as this is not dropped, on any free ports.
    ///
    /// # Errors
    /// It cannot be built or started.
    pub fn start(directory: &Path) -> Result<Self> {
        let ports = free_ports()?;
        let mut plane = Self::in_directory(directory, ports, true)?;
        plane.up()?;
        Ok(plane)
    }

    /// The control plane of a directory, which may run or not, on this port and the two above.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn lasting(directory: &Path, port: u16) -> Result<Self> {
        let ports = Ports {
            server: port,
            etcd: port + 1,
            peer: port + 2,
        };
        Self::in_directory(directory, ports, false)
    }

    fn in_directory(directory: &Path, ports: Ports, bound: bool) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let directory = fs::canonicalize(directory)?;
        Ok(Self {
            etcd: Process::new("etcd", &directory),
            server: Process::new("kube-apiserver", &directory),
            manager: Process::new("kube-controller-manager", &directory),
            scheduler: Process::new("kube-scheduler", &directory),
            namespace: None,
            nodes: Vec::new(),
            directory,
            ports,
            bound,
        })
    }

    /// The control plane of some nodes, in a network namespace; somebody leads the first two ports there.
    pub(crate) fn of_nodes(
        directory: &Path,
        port: u16,
        namespace: &str,
        nodes: &[String],
        bound: bool,
    ) -> Result<Self> {
        let mut plane = Self::lasting(directory, port)?;
        plane.bound = bound;
        plane.namespace = Some(namespace.to_owned());
        plane.nodes = nodes.to_vec();
        for process in plane.processes() {
            process.enter(namespace);
        }
        Ok(plane)
    }

    fn processes(&mut self) -> [&mut Process; 4] {
        // In the order in which they end.
        [
            &mut self.scheduler,
            &mut self.manager,
            &mut self.server,
            &mut self.etcd,
        ]
    }

    /// Starts what does not run, and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready in time.
    pub fn up(&mut self) -> Result<()> {
        let program = binary::kube()?;
        for name in PROGRAMS {
            let link = self.directory.join(name);
            if fs::read_link(&link).ok().as_ref() != Some(&program) {
                let _ = fs::remove_file(&link);
                symlink(&program, &link)?;
            }
        }
        let file = |name: &str| self.directory.join(name);
        credentials::write_tokens(&file("tokens.csv"), &self.nodes)?;
        credentials::make_key(&file("sa.key"), &file("sa.pub"))?;
        self.start_etcd()?;
        self.start_server()?;
        if self.namespace.is_some() {
            // Not before the server is ready: the manager ends for good when it is refused.
            let (manager, scheduler) = (self.manager_arguments(), self.scheduler_arguments());
            for (process, arguments) in [
                (&mut self.manager, manager),
                (&mut self.scheduler, scheduler),
            ] {
                if !process.is_alive() {
                    process.start(&arguments, self.bound)?;
                }
            }
        }
        Ok(())
    }

    /// Ends all of it.
    ///
    /// # Errors
    /// A process cannot be ended.
    pub fn down(&mut self) -> Result<()> {
        self.end(Signal::SIGTERM)
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        let mut ended = Ok(());
        for process in self.processes() {
            ended = ended.and(process.end(signal));
        }
        ended
    }

    /// Which of them run.
    pub fn status(&mut self) -> String {
        let has_nodes = self.namespace.is_some();
        let mut lines: Vec<String> = self.processes().map(|process| process.status()).into();
        lines.reverse();
        lines.truncate(if has_nodes { 4 } else { 2 });
        lines.join(", ")
    }

    /// A program of the release, `kubectl` for one, set up to reach this server.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.directory.join(program));
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// The file with which `kubectl` and the agent reach it.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    /// The server's address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.server)
    }

    /// The authority by which it is known.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.directory.join("pki/apiserver.crt")
    }

    /// Takes its certificate away: it makes another one when it starts.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn replace_authority(&self) -> Result<()> {
        Ok(fs::remove_dir_all(self.directory.join("pki"))?)
    }

    /// Who asks the server.
    ///
    /// # Errors
    /// Its configuration cannot be read.
    pub fn api(&self) -> Result<Api> {
        Api::open(&self.kubeconfig())
    }

    /// Who writes past the server.
    #[must_use]
    pub fn etcd(&self) -> Etcd {
        Etcd::new(self.ports.etcd)
    }

    /// Ends the server at once, as a crash does.
    ///
    /// # Errors
    /// It cannot be ended.
    pub fn kill_server(&mut self) -> Result<()> {
        self.server.end(Signal::SIGKILL)
    }

    /// Starts the server, and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready in time.
    pub fn start_server(&mut self) -> Result<()> {
        if !self.server.is_alive() {
            self.server.start(&self.server_arguments(), self.bound)?;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Its certificate is made when it starts for the first time.
            if self.authority().is_file() {
                let server = Server {
                    url: self.url(),
                    authority: self.authority(),
                };
                server.write_kubeconfig(&self.kubeconfig(), ADMINISTRATOR)?;
                if let Ok(api) = self.api()
                    && api.is_ready()
                {
                    return Ok(());
                }
            }
            go_on()?;
            if !self.server.is_alive() {
                bail!("kube-apiserver ended:\n{}", self.server.log_end());
            }
            if Instant::now() >= deadline {
                bail!("kube-apiserver is not ready:\n{}", self.server.log_end());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Starts etcd.
    ///
    /// # Errors
    /// It ends, or does not answer in time.
    pub fn start_etcd(&mut self) -> Result<()> {
        if !self.etcd.is_alive() {
            self.etcd.start(&self.etcd_arguments(), self.bound)?;
        }
        let deadline = Instant::now() + PATIENCE;
        while self.etcd().revision().is_err() {
            if !self.etcd.is_alive() || Instant::now() >= deadline {
                bail!("etcd does not serve:\n{}", self.etcd.log_end());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Copies what etcd holds; the server is away meanwhile and comes back.
    ///
    /// # Errors
    /// Something cannot be ended, copied or started.
    pub fn back_up(&mut self) -> Result<()> {
        self.server.end(Signal::SIGKILL)?;
        self.etcd.end(Signal::SIGTERM)?;
        copy(
            &self.directory.join("etcd.d"),
            &self.directory.join("backup"),
        )?;
        self.start_etcd()?;
        self.start_server()
    }

    /// Puts etcd back to the copy; `between` is done before the server comes back.
    ///
    /// # Errors
    /// Something cannot be ended, copied or started.
    pub fn restore(&mut self, between: impl FnOnce(&Etcd) -> Result<()>) -> Result<()> {
        self.server.end(Signal::SIGKILL)?;
        self.etcd.end(Signal::SIGKILL)?;
        copy(
            &self.directory.join("backup"),
            &self.directory.join("etcd.d"),
        )?;
        self.start_etcd()?;
        between(&self.etcd())?;
        self.start_server()
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if !self.bound {
            return;
        }
        if let Err(error) = self.end(Signal::SIGKILL) {
            eprintln!("a control plane stays behind: {error:#}");
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    let mut command = Command::new("cp");
    let status = command.arg("-a").args([from, to]).status()?;
    ensure!(status.success(), "copying {}: {status}", from.display());
    Ok(())
}

/// Three ports on which nobody listens now.
fn free_ports() -> Result<Ports> {
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(TcpListener::bind("127.0.0.1:0")?);
    }
    let port = |index: usize| -> Result<u16> { Ok(listeners[index].local_addr()?.port()) };
    Ok(Ports {
        server: port(0)?,
        etcd: port(1)?,
        peer: port(2)?,
    })
}
