//! The BPF file system in which pins stand.
//!
//! Invariant: one that is mounted here is told apart by how long it lives: in a mount namespace of
//! the agent's own it ends with the agent, and with it whatever is pinned.

use std::{fs, path::Path};

use nix::mount::MsFlags;

use super::{
    error::{BPFFS, PinDirError, io_error},
    file::is_bpffs,
};

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

/// Mounts the BPF file system where it is missing.
pub(super) fn mount() -> Result<Lifetime, PinDirError> {
    let path = Path::new(BPFFS);
    if is_bpffs(path)? {
        return Ok(Lifetime::Lasting);
    }
    nix::mount::mount(
        Some("bpf"),
        path,
        Some("bpf"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        Some("mode=0700"),
    )
    .map_err(|errno| io_error("mounting the BPF file system on", path)(errno.into()))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    Ok(if is_shared(&mounts) || is_first_namespace() {
        Lifetime::Lasting
    } else {
        Lifetime::EndsWithAgent
    })
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
