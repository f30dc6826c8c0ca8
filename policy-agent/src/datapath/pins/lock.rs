//! One agent per pin directory.
//!
//! Owns the files that belong to a pin directory and cannot stand in it, because bpffs holds BPF
//! objects only: the lock and the status socket. Invariant: whoever holds the lock file that its
//! path names is alone.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::{
    error::{PinDirError, io_error},
    file::remove,
};

/// Where the files are.
const RUN_DIRECTORY: &str = "/run/policy-agent";

/// Held while an agent works in a pin directory; the kernel lets go of it when the process ends.
#[derive(Debug)]
pub struct PinLock {
    _file: Flock<fs::File>,
    path: PathBuf,
}

impl PinLock {
    /// Takes the lock of a pin directory.
    pub(super) fn take(directory: &Path) -> Result<Self, PinDirError> {
        let run = Path::new(RUN_DIRECTORY);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(run)
            .map_err(io_error("making", run))?;
        let path = run_file(directory, "lock");
        loop {
            let file = fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(io_error("opening", &path))?;
            let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((_, Errno::EWOULDBLOCK)) => {
                    return Err(PinDirError::Locked {
                        path: directory.to_owned(),
                        holder: fs::read_to_string(&path)
                            .map(|text| text.trim().to_owned())
                            .unwrap_or_default(),
                    });
                }
                Err((_, errno)) => return Err(io_error("locking", &path)(errno.into())),
            };
            // A cleanup may have removed the file between the two calls: its lock means nothing.
            if !is_same(&file, &path) {
                continue;
            }
            file.set_len(0)
                .and_then(|()| writeln!(*file, "{}", std::process::id()))
                .map_err(io_error("writing", &path))?;
            return Ok(Self { _file: file, path });
        }
    }

    /// Removes the lock's file and lets go of it.
    pub(super) fn remove(self) -> Result<(), PinDirError> {
        remove(&self.path)
    }
}

/// A file that belongs to a pin directory but cannot stand in it.
pub(super) fn run_file(directory: &Path, extension: &str) -> PathBuf {
    Path::new(RUN_DIRECTORY).join(format!("{:016x}.{extension}", fnv1a(directory)))
}

fn is_same(file: &fs::File, path: &Path) -> bool {
    let by_path = fs::metadata(path).map(|data| data.ino()).ok();
    file.metadata().map(|data| data.ino()).ok() == by_path
}

/// Stable across builds, unlike the standard library's hashes: two versions of the agent must find
/// the same lock.
fn fnv1a(path: &Path) -> u64 {
    path.components().fold(0xcbf2_9ce4_8422_2325, |hash, part| {
        part.as_os_str()
            .as_encoded_bytes()
            .iter()
            .chain(b"/")
            .fold(hash, |hash: u64, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            })
    })
}

#[cfg(test)]
mod tests {
    use super::super::PinDir;

    #[test]
    fn the_same_directory_has_the_same_lock_however_it_is_written() {
        let plain = PinDir::new("/sys/fs/bpf/one");
        assert_eq!(plain.socket(), PinDir::new("/sys/fs/bpf/one/").socket());
        assert_eq!(plain.socket(), PinDir::new("/sys/fs//bpf/./one").socket());
        assert_ne!(plain.socket(), PinDir::new("/sys/fs/bpf/two").socket());
        assert_ne!(plain.socket(), PinDir::new("/sys/fs/bpf/on/e").socket());
    }

    #[test]
    fn a_second_agent_is_refused_and_told_who_holds_the_directory() {
        let pins = PinDir::new(format!("/sys/fs/bpf/lock-test-{}", std::process::id()));
        let held = pins.lock().unwrap();
        let refused = pins.lock().unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())));
        pins.remove_run_files(held).unwrap();
        let again = pins.lock().unwrap();
        pins.remove_run_files(again).unwrap();
    }
}
