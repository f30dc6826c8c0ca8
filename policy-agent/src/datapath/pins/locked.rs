//! What may be changed in a pin directory, by whoever has locked it.
//!
//! Invariant: a map's pin is replaced by a rename, so that a reader finds the old map or the new one.

use std::{fs, ops::Deref, os::unix::fs::DirBuilderExt as _, path::PathBuf, sync::Arc};

use aya::{Ebpf, maps::MapInfo};
use policy_common::{Control, PodLinks, names};

use super::{
    PinDir, PinDirError,
    error::io_error,
    file::{entries, remove, rename},
    lock::PinLock,
};

/// How the pins of links begin that are to take the place of others.
const MOVING: &str = "new-";

/// A pin directory of this process: nothing is pinned, moved or removed without it. It is locked while
/// there is a clone.
#[derive(Clone, Debug)]
pub struct Pins {
    directory: PinDir,
    _lock: Arc<PinLock>,
}

impl Deref for Pins {
    type Target = PinDir;

    fn deref(&self) -> &PinDir {
        &self.directory
    }
}

impl Pins {
    pub(super) fn new(directory: &PinDir, lock: PinLock) -> Self {
        Self {
            directory: directory.clone(),
            _lock: Arc::new(lock),
        }
    }

    /// Makes what belongs into the directory, and clears what a run that was cut off left half done: maps
    /// that had no name yet, and links that had not taken the place of others, which still stand.
    pub(super) fn prepare(&self) -> Result<(), PinDirError> {
        for directory in self.directories() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&directory)
                .map_err(io_error("making", &directory))?;
        }
        clear(entries(&self.next())?)?;
        let links = entries(&self.links())?.into_iter();
        clear(links.filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(MOVING)
        }))
    }

    /// Puts the pins of a generation in the place of those of the one before, whose programs keep what they
    /// call until [`Pins::retire`]. `reused`: the maps that both share.
    pub(crate) fn publish(&self, ebpf: &Ebpf, reused: &[&str]) -> Result<(), PinDirError> {
        clear(entries(&self.next())?)?;
        let mut fresh = Vec::new();
        for (name, map) in ebpf.maps() {
            // Other names with a dot are the loader's own, and bpffs refuses them.
            let name = match name {
                Control::MAP => names::CONTROL,
                PodLinks::MAP => names::POD_LINKS,
                name => name,
            };
            if name.starts_with('.') || reused.contains(&name) {
                continue;
            }
            let path = self.next().join(name);
            map.pin(&path).map_err(|source| PinDirError::Pin {
                path: path.clone(),
                source,
            })?;
            fresh.push((path, name));
        }
        let calls = self.path().join(names::CALLS);
        if let Ok(info) = MapInfo::from_pin(&calls) {
            rename(&calls, &self.before().join(info.id().to_string()))?;
        }
        // First what remembers the epoch, so that no later run starts behind a published endpoint.
        fresh.sort_by_key(|(_, name)| *name != names::NODE_STATE);
        fresh
            .iter()
            .try_for_each(|(path, name)| rename(path, &self.path().join(name)))
    }

    /// Lets go of what programs of generations before needed. To be called when no link leads to them any
    /// more.
    ///
    /// # Errors
    /// A pin cannot be removed.
    pub fn retire(&self) -> Result<(), PinDirError> {
        clear(entries(&self.before())?)
    }

    /// The pin of a link until it takes the place of the one of this name.
    pub(crate) fn moving(&self, record: &str) -> PathBuf {
        self.links().join(format!("{MOVING}{record}"))
    }

    /// Removes the socket, every pin and the directory. What is still attached by a link ends with it.
    /// Returns the names of the maps that were pinned.
    ///
    /// # Errors
    /// A pin cannot be removed; the others are.
    pub fn remove_all(&self) -> Result<Vec<String>, PinDirError> {
        let mut result = remove(&self.socket());
        let mut maps = Vec::new();
        for directory in self
            .directories()
            .into_iter()
            .chain([self.path().to_owned()])
        {
            if !directory.exists() {
                continue;
            }
            for entry in entries(&directory)? {
                if entry.is_dir() {
                    continue;
                }
                if directory == self.path() {
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

fn clear(pins: impl IntoIterator<Item = PathBuf>) -> Result<(), PinDirError> {
    pins.into_iter().try_for_each(|pin| remove(&pin))
}
