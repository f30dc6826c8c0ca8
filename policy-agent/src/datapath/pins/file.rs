//! Pins as files.
//!
//! Invariant: a pin is replaced by a rename, so that a reader finds the old object or the new one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::sys::statfs::{self, BPF_FS_MAGIC};

use super::error::{PinDirError, io_error};

/// The entries of a directory, none when it does not exist.
pub(crate) fn entries(directory: &Path) -> Result<Vec<PathBuf>, PinDirError> {
    let read = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io_error("reading", directory))?,
    };
    read.map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(io_error("reading", directory))
}

/// Puts a pin in the place of another; whoever looks finds one of them.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), PinDirError> {
    fs::rename(from, to).map_err(io_error("replacing", to))
}

/// Removes a pin; one that is gone is no error.
pub(crate) fn remove(path: &Path) -> Result<(), PinDirError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(io_error("removing", path)),
    }
}

/// Whether a path is on a BPF file system.
///
/// # Errors
/// The path does not exist.
pub fn is_bpffs(path: &Path) -> Result<bool, PinDirError> {
    statfs::statfs(path)
        .map(|stat| stat.filesystem_type() == BPF_FS_MAGIC)
        .map_err(|errno| io_error("looking at", path)(errno.into()))
}
