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

use super::pins::{PinDir, PinDirError, io_error, remove};

/// Where the files are.
const RUN_DIRECTORY: &str = "/run/policy-agent";

/// Held while an agent works in a pin directory; the kernel lets go of it when the process ends.
#[derive(Debug)]
pub struct PinLock {
    _file: Flock<fs::File>,
}

impl PinDir {
    /// Takes the lock.
    ///
    /// # Errors
    /// [`PinDirError::Locked`] names the process that holds it.
    pub fn lock(&self) -> Result<PinLock, PinDirError> {
        let run = Path::new(RUN_DIRECTORY);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(run)
            .map_err(io_error("making", run))?;
        let path = self.run_file("lock");
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
                        path: self.path().to_owned(),
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
            return Ok(PinLock { _file: file });
        }
    }

    /// Removes lock and socket, the last step of a cleanup.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn remove_run_files(&self, lock: PinLock) -> Result<(), PinDirError> {
        remove(&self.socket())?;
        remove(&self.run_file("lock"))?;
        drop(lock);
        Ok(())
    }

    /// The socket on which the agent of this directory answers `status`.
    pub fn socket(&self) -> PathBuf {
        self.run_file("sock")
    }

    /// A file that belongs to this directory but cannot stand in it.
    fn run_file(&self, extension: &str) -> PathBuf {
        Path::new(RUN_DIRECTORY).join(format!("{:016x}.{extension}", fnv1a(self.path())))
    }
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
    use super::*;

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
