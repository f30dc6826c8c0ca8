//! The pin directory: what outlives the agent.
//!
//! Owns paths under `--pin-path`. Maps stand under
//! their names, TCX links under `links/`, the programs of clsact filters under `filters/`, both as
//! `<interface index>-<program>`; `next/` holds maps on their way to their names, `before/` what programs
//! of the generation before need, `elsewhere/` what runs on in other network namespaces. Only reads: who changes something has [`Pins`].

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use aya::maps::{Map, MapData};
use nix::mount::MsFlags;
use policy_common::{NodeState, names};

use super::{
    super::kernel::abi::Slots,
    error::{BPFFS, PinDirError, io_error},
    file::{entries, is_bpffs},
    lock::{DEFAULT_RUN_DIR, PinLock, run_file},
    locked::Pins,
};

/// Where pins stand unless `--pin-path` says otherwise.
pub const DEFAULT_PIN_PATH: &str = "/sys/fs/bpf/policy-agent";

/// A pin directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinDir {
    path: PathBuf,
    run: PathBuf,
}

impl PinDir {
    /// Names the directory; touches nothing.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            run: DEFAULT_RUN_DIR.into(),
        }
    }

    /// The same directory, whose agent has its socket elsewhere.
    #[must_use]
    pub fn with_run_dir(self, run: impl Into<PathBuf>) -> Self {
        Self {
            run: run.into(),
            ..self
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory where it is missing, mounting the BPF file system, takes the lock, and clears what
    /// a run that was cut off left half done.
    ///
    /// # Errors
    /// [`PinDirError::Locked`] names the process that holds it; the directory is on another file
    /// system, has a name that a BPF file system refuses, or others than root may open it.
    pub fn lock(&self) -> Result<Pins, PinDirError> {
        self.check_name()?;
        if self.path.starts_with(BPFFS) {
            mount_bpffs()?;
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(io_error("making", &self.path))?;
        if !is_bpffs(&self.path)? {
            return Err(PinDirError::NotBpffs {
                path: self.path.clone(),
            });
        }
        let pins = Pins::new(self, PinLock::take(&self.path)?);
        pins.prepare()?;
        Ok(pins)
    }

    /// Takes the lock for removing everything; `None`: there is no directory.
    ///
    /// # Errors
    /// As [`PinDir::lock`], and [`PinDirError::Foreign`] when something stands there that no agent
    /// makes.
    pub fn lock_for_removal(&self) -> Result<Option<Pins>, PinDirError> {
        if !self.path.exists() {
            return Ok(None);
        }
        if !is_bpffs(&self.path)? {
            return Err(PinDirError::NotBpffs {
                path: self.path.clone(),
            });
        }
        let lock = PinLock::take(&self.path)?;
        let own = self.directories();
        let mut has_maps = false;
        for entry in entries(&self.path)? {
            let name = entry.file_name().unwrap_or_default().to_string_lossy();
            let is_map = name
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || b"_0123456789".contains(&byte));
            if !own.contains(&entry) && !is_map {
                return Err(PinDirError::Foreign {
                    path: self.path.clone(),
                    name: name.into_owned(),
                });
            }
            // A run pins it as its first map, in directories that it has made.
            has_maps |= is_map && name != names::SANDBOXES;
        }
        // The marker: what every agent remembers of its node.
        let is_made = own.iter().all(|directory| directory.exists());
        let is_marked = self.path.join(names::NODE_STATE).exists();
        if !is_marked && (has_maps || !is_made && self.path.join(names::SANDBOXES).exists()) {
            return Err(PinDirError::Foreign {
                path: self.path.clone(),
                name: format!("maps without {}", names::NODE_STATE),
            });
        }
        Ok(Some(Pins::new(self, lock)))
    }

    /// The socket on which the agent of this directory is asked.
    pub fn socket(&self) -> PathBuf {
        self.run.join(run_file(&self.path, "sock"))
    }

    /// Whether the other names the same directory, however it is written.
    pub fn is_same(&self, other: &Self) -> bool {
        run_file(&self.path, "") == run_file(&other.path, "")
    }

    /// What the directory remembers, `None` when there is nothing to read.
    pub fn node_state(&self) -> Option<NodeState> {
        let data = MapData::from_pin(self.path.join(names::NODE_STATE)).ok()?;
        let slots: Slots<NodeState> = Map::from_map_data(data).ok()?.try_into().ok()?;
        slots.get(&0, 0).ok().map(|state| state.0)
    }

    /// Pins of TCX links.
    pub(crate) fn links(&self) -> PathBuf {
        self.path.join("links")
    }

    /// Pins of the programs of clsact filters, which have no links.
    pub(crate) fn filters(&self) -> PathBuf {
        self.path.join("filters")
    }

    /// Maps that are on their way to their names.
    pub(crate) fn next(&self) -> PathBuf {
        self.path.join("next")
    }

    /// What programs of the generation before need while links lead to them.
    pub(super) fn before(&self) -> PathBuf {
        self.path.join("before")
    }

    /// What is attached in other network namespaces than the agent's.
    pub(super) fn elsewhere(&self) -> PathBuf {
        self.path.join("elsewhere")
    }

    /// The directories in it.
    pub(super) fn directories(&self) -> [PathBuf; 5] {
        [
            self.links(),
            self.filters(),
            self.next(),
            self.before(),
            self.elsewhere(),
        ]
    }
}

fn mount_bpffs() -> Result<(), PinDirError> {
    let path = Path::new(BPFFS);
    if is_bpffs(path)? {
        return Ok(());
    }
    nix::mount::mount(
        Some("bpf"),
        path,
        Some("bpf"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        Some("mode=0700"),
    )
    .map_err(|errno| io_error("mounting the BPF file system on", path)(errno.into()))
}
