//! The BPF file system in which pins stand.
//!
//! Invariant: one that is mounted here is told apart by how long it lives: in a mount namespace of
//! the agent's own it ends with the agent, and with it whatever is pinned.

use std::{fs, path::Path};

use super::{error::BPFFS, file::is_bpffs};

/// The inode of the first process namespace (`PROC_PID_INIT_INO` in linux/proc_ns.h).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// How long what is pinned lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Until somebody removes it.
    Lasting,
    /// Until the agent ends: only its mount namespace has the file system.
    EndsWithAgent,
}

impl Lifetime {
    /// How long pins under a path live. `was_missing`: whether the file system was not mounted
    /// before the agent prepared the directory, see [`Lifetime::is_missing`].
    pub fn of(path: &Path, was_missing: bool) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let lasts =
            !was_missing || !path.starts_with(BPFFS) || is_shared(&mounts) || is_first_namespace();
        if lasts {
            Self::Lasting
        } else {
            Self::EndsWithAgent
        }
    }

    /// Whether the BPF file system is not mounted at its usual place.
    pub fn is_missing() -> bool {
        !is_bpffs(Path::new(BPFFS)).unwrap_or(false)
    }
}

/// Whether the last mount on the path is seen by other mount namespaces too.
fn is_shared(mounts: &str) -> bool {
    let fields = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .rfind(|fields| fields.get(4) == Some(&BPFFS));
    fields.is_some_and(|fields| {
        let mut optional = fields.iter().skip(6).take_while(|field| **field != "-");
        optional.any(|field| field.starts_with("shared:"))
    })
}

/// Whether this process is in the mount namespace of the machine's first process.
fn is_first_namespace() -> bool {
    let name = |path: &str| fs::read_link(path).ok();
    let is_first =
        name("/proc/self/ns/pid").is_some_and(|pid| pid == Path::new(FIRST_PID_NAMESPACE));
    is_first && name("/proc/self/ns/mnt") == name("/proc/1/ns/mnt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_on_the_path_tells_who_sees_it() {
        let line = |path: &str, optional: &str| {
            format!("36 35 0:31 / {path} rw,nosuid{optional} - bpf bpf rw\n")
        };
        assert!(is_shared(&line(BPFFS, " shared:9")));
        assert!(!is_shared(&line(BPFFS, " master:4")));
        assert!(!is_shared(&line("/elsewhere", " shared:9")));
        assert!(!is_shared(&(line(BPFFS, " shared:9") + &line(BPFFS, ""))));
    }
}
