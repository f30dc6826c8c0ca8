//! etcd and kube-apiserver: their credentials, ports, life, and ways to die.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::{Api, Etcd, binary, process::Process};

/// How long the server may take to be ready, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// Who may do everything.
const TOKEN: &str = "administrator";
/// An address of this server for others, of whom there are none. RFC 5737.
const ADVERTISED: &str = "192.0.2.1";

/// A control plane in a directory.
#[derive(Debug)]
pub struct ControlPlane {
    directory: PathBuf,
    ports: Ports,
    etcd: Process,
    server: Process,
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
            directory,
            ports,
            bound,
        })
    }

    /// Starts what does not run, and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready in time.
    pub fn up(&mut self) -> Result<()> {
        let program = binary::control_plane()?;
        for name in ["etcd", "kube-apiserver"] {
            let link = self.directory.join(name);
            if fs::read_link(&link).ok().as_ref() != Some(&program) {
                let _ = fs::remove_file(&link);
                symlink(&program, &link)?;
            }
        }
        self.write_credentials()?;
        self.start_etcd()?;
        self.start_server()
    }

    /// Ends both.
    ///
    /// # Errors
    /// A process cannot be ended.
    pub fn down(&mut self) -> Result<()> {
        self.server.end(Signal::SIGTERM)?;
        self.etcd.end(Signal::SIGTERM)
    }

    /// Which of them run.
    pub fn status(&mut self) -> String {
        let mut lines = Vec::new();
        for process in [&mut self.etcd, &mut self.server] {
            let state = if process.is_alive() {
                "runs"
            } else {
                "does not run"
            };
            let pid = process
                .pid()
                .map_or_else(String::new, |pid| format!(" ({pid})"));
            lines.push(format!("{}{pid}", state));
        }
        format!("etcd {}, kube-apiserver {}", lines[0], lines[1])
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
                self.write_kubeconfig()?;
                if let Ok(api) = self.api()
                    && api.is_ready()
                {
                    return Ok(());
                }
            }
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

    fn write_credentials(&self) -> Result<()> {
        let tokens = format!("{TOKEN},admin,admin,\"system:masters\"\n");
        fs::write(self.directory.join("tokens.csv"), tokens)?;
        let (key, public) = (self.directory.join("sa.key"), self.directory.join("sa.pub"));
        if public.is_file() {
            return Ok(());
        }
        openssl(
            &[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-out",
            ],
            &[&key],
        )?;
        openssl(
            &["pkey", "-pubout", "-in"],
            &[&key, Path::new("-out"), &public],
        )
    }

    fn write_kubeconfig(&self) -> Result<()> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": {
                "server": self.url(),
                "certificate-authority": self.authority(),
            }}],
            "users": [{"name": "admin", "user": {"token": TOKEN}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}],
            "current-context": "lab",
        });
        Ok(fs::write(self.kubeconfig(), config.to_string())?)
    }

    fn etcd_arguments(&self) -> Vec<String> {
        let Ports { etcd, peer, .. } = self.ports;
        let data = self.directory.join("etcd.d");
        [
            "--name=lab".to_owned(),
            format!("--data-dir={}", data.display()),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
            "--quota-backend-bytes=4294967296".to_owned(),
            format!("--listen-client-urls=http://127.0.0.1:{etcd}"),
            format!("--advertise-client-urls=http://127.0.0.1:{etcd}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-cluster=lab=http://127.0.0.1:{peer}"),
        ]
        .into()
    }

    /// Without controllers nobody makes service accounts: pods are admitted without.
    fn server_arguments(&self) -> Vec<String> {
        let Ports { server, etcd, .. } = self.ports;
        let file = |name: &str| self.directory.join(name).display().to_string();
        [
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={server}"),
            format!("--advertise-address={ADVERTISED}"),
            format!("--etcd-servers=http://127.0.0.1:{etcd}"),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--allow-privileged=true".to_owned(),
            format!("--cert-dir={}", file("pki")),
            format!("--token-auth-file={}", file("tokens.csv")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", file("sa.pub")),
            format!("--service-account-signing-key-file={}", file("sa.key")),
        ]
        .into()
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if !self.bound {
            return;
        }
        let ended = self.server.end(Signal::SIGKILL);
        if let Err(error) = ended.and(self.etcd.end(Signal::SIGKILL)) {
            eprintln!("a control plane stays behind: {error:#}");
        }
    }
}

fn openssl(arguments: &[&str], files: &[&Path]) -> Result<()> {
    let output = Command::new("openssl")
        .args(arguments)
        .args(files)
        .output()
        .context("starting openssl")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl: {}", errors.trim());
    Ok(())
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
