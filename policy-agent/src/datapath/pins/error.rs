//! Why a pin directory cannot be used.

use std::{
    io,
    path::{Path, PathBuf},
};

use aya::maps::MapError;

/// Where the BPF file system is.
pub(super) const BPFFS: &str = "/sys/fs/bpf";

/// The pin directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PinDirError {
    /// Another agent works there.
    #[error("{path} belongs to another agent (process {holder}): one agent per --pin-path")]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process, as far as the lock file says.
        holder: String,
    },
    /// Others than root may open the directory, and whoever can open it can lock it.
    #[error("{path} belongs to user {owner} with mode {mode:04o}: it must be root's alone (0700)")]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its permissions.
        mode: u32,
    },
    /// No agent pinned into the directory.
    #[error("{path} is no pin directory of an agent: {name} stands there, and nothing is removed")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What no agent made.
        name: String,
    },
    /// The directory is on an ordinary file system.
    #[error("{path} is not on a BPF file system: choose a --pin-path under {BPFFS}")]
    NotBpffs {
        /// The directory.
        path: PathBuf,
    },
    /// A BPF file system takes no dots in names.
    #[error(
        "{path}: {name} has a dot, and a BPF file system refuses dots in names: choose another --pin-path"
    )]
    Dot {
        /// The directory.
        path: PathBuf,
        /// The part with the dot.
        name: PathBuf,
    },
    /// A file operation failed.
    #[error("{action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A map could not be pinned.
    #[error("pinning {path}")]
    Pin {
        /// The pin.
        path: PathBuf,
        /// The reason.
        #[source]
        source: aya::pin::PinError,
    },
    /// A pinned map could not be read.
    #[error("reading the pinned map {name}")]
    Map {
        /// Its name.
        name: &'static str,
        /// The reason.
        #[source]
        source: MapError,
    },
}

pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PinDirError {
    move |source| PinDirError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
