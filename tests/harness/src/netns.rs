//! A network namespace that lives as long as its value.

use std::{
    fs::{self, File},
    hash::{BuildHasher, Hasher, RandomState},
    io::Write,
    panic,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};

/// Where iproute2 keeps the names of namespaces.
const DIRECTORY: &str = "/run/netns";

/// A named network namespace, deleted on drop, also while a test panics.
///
/// Duplicate address detection is off in it, so that IPv6 addresses work at once, the reverse path
/// filter too, and `lo` is up.
#[derive(Debug)]
pub struct Netns {
    /// Empty when it has none under [`DIRECTORY`].
    name: String,
    handle: Handle,
}

/// A way into a namespace that does not end with its name.
#[derive(Clone, Debug)]
pub struct Handle(Arc<File>);

impl Netns {
    /// Makes a namespace called `prefix` and a random number.
    pub fn new(prefix: &str) -> Result<Self> {
        let random = RandomState::new().build_hasher().finish();
        let name = format!("{prefix}-{:08x}", random & 0xffff_ffff);
        run(Command::new("ip").args(["netns", "add", &name]))
            .context("cannot make a network namespace (root and iproute2 are needed)")?;
        let made = File::open(Path::new(DIRECTORY).join(&name)).map(|file| Self {
            name: name.clone(),
            handle: Handle(Arc::new(file)),
        });
        let netns = match made {
            Ok(netns) => netns,
            Err(error) => {
                run(Command::new("ip").args(["netns", "del", &name]))?;
                return Err(error.into());
            }
        };
        netns.settle()?;
        netns.ip(&["link set lo up"])?;
        Ok(netns)
    }

    fn settle(&self) -> Result<()> {
        for scope in ["all", "default"] {
            self.sysctl(&format!("net/ipv6/conf/{scope}/accept_dad"), "0")?;
            // What is dropped is to be dropped by the programs, not by routing; a new namespace
            // inherits the machine's setting.
            self.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
        }
        Ok(())
    }

    /// Makes a namespace without a name, which ends with its last thread and its last handle. Needs
    /// no iproute2: any `ip` does, as in a virtual machine with nothing but busybox. The filters
    /// and settings are those of [`Netns::new`].
    pub fn unnamed() -> Result<Self> {
        let made = thread::spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET)
                .context("cannot make a network namespace (root is needed)")?;
            Ok(File::open("/proc/thread-self/ns/net")?)
        });
        let file = made
            .join()
            .unwrap_or_else(|payload| panic::resume_unwind(payload))?;
        let netns = Self {
            name: String::new(),
            handle: Handle(Arc::new(file)),
        };
        netns.settle()?;
        netns.exec("ip", &["link", "set", "lo", "up"])?;
        Ok(netns)
    }

    /// Its name under `/run/netns`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// Runs `work` on a thread of its own inside the namespace and waits for it. Sockets, netlink
    /// and processes that it starts belong to the namespace, for good. A panic goes on here.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.handle.run(work)
    }

    /// Starts `work` on a thread inside the namespace that may outlive this call.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<thread::JoinHandle<Result<T>>> {
        let handle = self.handle();
        let named = thread::Builder::new().name(self.name.clone());
        Ok(named.spawn(move || {
            handle.enter()?;
            Ok(work())
        })?)
    }

    /// A way in that can be kept.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs a program inside and returns what it printed; an error when it fails.
    pub fn exec(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.run(|| run(Command::new(program).args(arguments)))?
    }

    /// Starts a program inside that the caller ends and waits for.
    pub fn start(&self, command: &mut Command) -> Result<Child> {
        self.run(|| command.spawn())?
            .with_context(|| format!("cannot start {command:?}"))
    }

    /// Runs `ip` commands (without the word `ip`) inside, in one process; the first error ends it.
    pub fn ip<S: AsRef<str> + Sync>(&self, commands: &[S]) -> Result<()> {
        let mut script = String::new();
        for command in commands {
            script.push_str(command.as_ref());
            script.push('\n');
        }
        self.run(|| batch(&script))?
            .with_context(|| format!("in namespace {}:\n{script}", self.name))
    }

    /// Writes a setting below `/proc/sys`, `key` with slashes.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        self.run(|| fs::write(&path, value))?
            .with_context(|| format!("cannot write {value} to {}", path.display()))
    }

    /// Index of an interface inside.
    pub fn ifindex(&self, interface: &str) -> Result<u32> {
        self.run(|| nix::net::if_::if_nametoindex(interface))?
            .with_context(|| format!("no interface {interface} in {}", self.name))
    }

    /// Hardware address of an interface inside.
    pub fn mac(&self, interface: &str) -> Result<[u8; 6]> {
        let found = self.run(|| {
            let mut all = nix::ifaddrs::getifaddrs().ok()?;
            all.find_map(|entry| {
                let address = entry
                    .address
                    .filter(|_| entry.interface_name == interface)?;
                address.as_link_addr()?.addr()
            })
        })?;
        found.with_context(|| format!("no hardware address of {interface} in {}", self.name))
    }
}

impl Handle {
    /// As [`Netns::run`].
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter()?;
                Ok(work())
            });
            inside
                .join()
                .unwrap_or_else(|payload| panic::resume_unwind(payload))
        })
    }

    /// The file that stands for the namespace, for netlink.
    #[must_use]
    pub fn fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&*self.0)
    }

    fn enter(&self) -> Result<()> {
        setns(&*self.0, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if self.name.is_empty() {
            return;
        }
        if let Err(error) = run(Command::new("ip").args(["netns", "del", &self.name])) {
            eprintln!("network namespace {} is left behind: {error:#}", self.name);
        }
    }
}

fn run(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {}", output.status, errors.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn batch(script: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run ip")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(script.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
