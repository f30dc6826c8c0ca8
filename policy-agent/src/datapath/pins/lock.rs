//! One agent per pin directory.
//!
//! The lock is the directory itself: whoever sees it sees the lock, whatever else is mounted where.
//! It is root's and closed to others, because whoever can open it can lock it. Owns also the name
//! of the control socket, which cannot stand there: bpffs holds BPF objects only. Invariant: whoever
//! has locked the directory that the path names is alone.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg, OFlag},
};

use super::{
    error::{PinDirError, io_error},
    file::is_bpffs,
};

/// Where sockets are unless `--run-dir` says otherwise.
pub const DEFAULT_RUN_DIR: &str = "/run/policy-agent";

/// Held while an agent works in a pin directory; the kernel lets go of it when the process ends.
#[derive(Debug)]
pub(super) struct PinLock {
    _directory: Flock<fs::File>,
}

impl PinLock {
    /// Whether somebody holds the lock of a directory on a BPF file system. Whoever takes it at this very
    /// moment may be refused.
    pub(super) fn is_held(directory: &Path) -> bool {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let open = fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits())
            .open(directory);
        is_bpffs(directory).unwrap_or(false)
            && open.is_ok_and(|file| {
                matches!(
                    Flock::lock(file, FlockArg::LockSharedNonblock),
                    Err((_, Errno::EWOULDBLOCK))
                )
            })
    }

    /// Locks a pin directory, which exists.
    pub(super) fn take(directory: &Path) -> Result<Self, PinDirError> {
        loop {
            let file = fs::File::open(directory).map_err(io_error("opening", directory))?;
            let data = file.metadata().map_err(io_error("looking at", directory))?;
            let mode = data.mode() & 0o7777;
            if data.uid() != 0 || mode & 0o077 != 0 {
                return Err(PinDirError::NotPrivate {
                    path: directory.to_owned(),
                    owner: data.uid(),
                    mode,
                });
            }
            let locked = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(locked) => locked,
                Err((_, Errno::EWOULDBLOCK)) => {
                    return Err(PinDirError::Locked {
                        path: directory.to_owned(),
                        holder: holder(data.ino()).unwrap_or_else(|| "unknown".into()),
                    });
                }
                Err((_, errno)) => return Err(io_error("locking", directory)(errno.into())),
            };
            // A cleanup may have removed the directory meanwhile: its lock means nothing.
            match fs::metadata(directory) {
                Ok(named) if named.ino() == data.ino() && named.dev() == data.dev() => {
                    return Ok(Self { _directory: locked });
                }
                Ok(_) => {}
                Err(error) => return Err(io_error("looking at", directory)(error)),
            }
        }
    }
}

/// The process that has locked what has this inode, as far as this process may know.
pub(super) fn holder(inode: u64) -> Option<String> {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let fields = locks.lines().map(|line| line.split_whitespace().collect());
    fields
        .filter(|fields: &Vec<&str>| fields.get(1) == Some(&"FLOCK"))
        .find_map(|fields| {
            let (_, number) = fields.get(5)?.rsplit_once(':')?;
            (number.parse() == Ok(inode)).then(|| fields.get(4).map(ToString::to_string))?
        })
}

/// The name of a file that belongs to a pin directory but cannot stand in it.
pub(super) fn run_file(directory: &Path, extension: &str) -> String {
    format!("{:016x}.{extension}", fnv1a(directory))
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
    use std::{fs, os::unix::fs::PermissionsExt as _};

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
        drop(held);
        pins.lock().unwrap().remove_all().unwrap();
    }

    #[test]
    fn a_directory_that_others_may_open_is_refused_with_its_owner_and_mode() {
        let path = format!("/sys/fs/bpf/loose-test-{}", std::process::id());
        let pins = PinDir::new(&path);
        drop(pins.lock().unwrap());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let refused = pins.lock().unwrap_err().to_string();
        assert!(refused.contains("user 0 with mode 0755"), "{refused}");
        fs::remove_dir_all(&path).unwrap();
    }
}
