//! The pin directory: what outlives the agent, and who may change it.
//!
//! Owns paths under `--pin-path`. Maps stand under
//! their names, TCX links under `links/`, the programs of clsact filters under `filters/`, both as
//! `<interface index>-<program>`; `next/` holds a generation that is not in force yet. Invariant: a
//! map's pin is replaced by a rename, so that a reader finds the old map or the new one.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use nix::mount::MsFlags;
use policy_common::{Control, NodeState, names};

use super::{
    super::kernel::abi::Slots,
    error::{BPFFS, PinDirError, io_error},
    file::{entries, is_bpffs, remove, rename},
    lock::{PinLock, run_file},
};

/// Where pins stand unless `--pin-path` says otherwise.
pub const DEFAULT_PIN_PATH: &str = "/sys/fs/bpf/policy-agent";

/// How the pins of links begin that are to take the place of others.
const MOVING: &str = "new-";

/// A pin directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinDir {
    path: PathBuf,
}

impl PinDir {
    /// Names the directory; touches nothing.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory where it is missing, mounting the BPF file system, and takes the lock.
    ///
    /// # Errors
    /// [`PinDirError::Locked`] names the process that holds it; the directory is on another file
    /// system, has a name that a BPF file system refuses, or others than root may open it.
    pub fn lock(&self) -> Result<PinLock, PinDirError> {
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
        PinLock::take(&self.path)
    }

    /// Takes the lock for removing everything; `None`: there is no directory.
    ///
    /// # Errors
    /// As [`PinDir::lock`], and [`PinDirError::Foreign`] when something stands there that no agent
    /// makes.
    pub fn lock_for_removal(&self) -> Result<Option<PinLock>, PinDirError> {
        if !self.path.exists() {
            return Ok(None);
        }
        if !is_bpffs(&self.path)? {
            return Err(PinDirError::NotBpffs {
                path: self.path.clone(),
            });
        }
        let lock = PinLock::take(&self.path)?;
        let own = [self.links(), self.filters(), self.next()];
        let mut has_maps = false;
        for entry in entries(&self.path)? {
            let name = entry.file_name().unwrap_or_default().to_string_lossy();
            let is_map = name
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || b"_0123456789".contains(&byte));
            has_maps |= is_map;
            if !own.contains(&entry) && !is_map {
                return Err(PinDirError::Foreign {
                    path: self.path.clone(),
                    name: name.into_owned(),
                });
            }
        }
        // The marker: what every agent remembers of its node.
        if has_maps && !self.path.join(names::NODE_STATE).exists() {
            return Err(PinDirError::Foreign {
                path: self.path.clone(),
                name: format!("maps without {}", names::NODE_STATE),
            });
        }
        Ok(Some(lock))
    }

    /// Removes the socket and lets go of the lock, the last step of a cleanup.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove_run_files(&self, lock: PinLock) -> Result<(), PinDirError> {
        drop(lock);
        remove(&self.socket())
    }

    /// The socket on which the agent of this directory answers `status`.
    pub fn socket(&self) -> PathBuf {
        run_file(&self.path, "sock")
    }

    /// Makes what belongs into the directory, and clears what a run that was cut off left in
    /// `next/`. Needs the lock.
    ///
    /// # Errors
    /// A directory cannot be made, a leftover not removed.
    pub fn prepare(&self, _lock: &PinLock) -> Result<(), PinDirError> {
        for directory in [self.links(), self.filters(), self.next()] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&directory)
                .map_err(io_error("making", &directory))?;
        }
        self.clear_next()?;
        self.clear_moves()
    }

    /// Removes a generation that is not in force and shall not be.
    pub(crate) fn clear_next(&self) -> Result<(), PinDirError> {
        entries(&self.next())?
            .iter()
            .try_for_each(|leftover| remove(leftover))
    }

    /// Removes links that a run which was cut off had not put in the place of others yet: those
    /// others still stand.
    fn clear_moves(&self) -> Result<(), PinDirError> {
        let links = entries(&self.links())?;
        let is_move = |path: &&PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(MOVING)
        };
        links
            .iter()
            .filter(is_move)
            .try_for_each(|link| remove(link))
    }

    /// Pins the maps of a new generation beside those in force.
    pub(crate) fn pin_next(&self, ebpf: &Ebpf, reused: &[&str]) -> Result<(), PinDirError> {
        for (name, map) in ebpf.maps() {
            // Other names with a dot are the loader's own, and bpffs refuses them.
            let name = if name == Control::MAP {
                names::CONTROL
            } else {
                name
            };
            if name.starts_with('.') || reused.contains(&name) {
                continue;
            }
            let path = self.next().join(name);
            map.pin(&path)
                .map_err(|source| PinDirError::Pin { path, source })?;
        }
        Ok(())
    }

    /// Puts the pins of the new generation in the place of the old ones.
    pub(crate) fn publish(&self) -> Result<(), PinDirError> {
        // First what remembers the epoch, so that no later run starts behind a published endpoint.
        let mut fresh = entries(&self.next())?;
        fresh.sort_by_key(|path| !path.ends_with(names::NODE_STATE));
        for from in fresh {
            if let Some(name) = from.file_name() {
                rename(&from, &self.path.join(name))?;
            }
        }
        Ok(())
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

    /// The pin of a link until it takes the place of the one of this name.
    pub(crate) fn moving(&self, record: &str) -> PathBuf {
        self.links().join(format!("{MOVING}{record}"))
    }

    /// What is not in force yet.
    pub(crate) fn next(&self) -> PathBuf {
        self.path.join("next")
    }

    /// Removes every pin and the directory. What is still attached by a link ends with it. Returns
    /// the names of the maps that were pinned.
    ///
    /// # Errors
    /// A pin cannot be removed; the others are.
    pub fn remove_all(&self) -> Result<Vec<String>, PinDirError> {
        let mut result = Ok(());
        let mut maps = Vec::new();
        for directory in [self.links(), self.filters(), self.next(), self.path.clone()] {
            if !directory.exists() {
                continue;
            }
            for entry in entries(&directory)? {
                if entry.is_dir() {
                    continue;
                }
                if directory == self.path {
                    let name = entry.file_name().unwrap_or_default();
                    maps.push(name.to_string_lossy().into_owned());
                }
                result = result.and(remove(&entry));
            }
            result =
                result.and(fs::remove_dir(&directory).map_err(io_error("removing", &directory)));
        }
        maps.sort();
        result.map(|()| maps)
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
