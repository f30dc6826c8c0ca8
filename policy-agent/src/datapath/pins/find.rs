//! Pin directories of agents, wherever they are on the BPF file system.
//!
//! Must not touch what it finds: whoever wants to change a directory takes its lock. Invariant: a
//! directory counts as an agent's by what every agent makes there, never by its name.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

use policy_common::names;

use super::{
    dir::PinDir,
    error::{BPFFS, PinDirError, io_error},
    file::{entries, is_bpffs},
    lock::{PinLock, holder},
};

/// Directories within directories in which pins are looked for.
const DEPTH: usize = 6;

impl PinDir {
    /// Every pin directory on the usual BPF file system, whoever holds it; none when that is not
    /// mounted.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn all() -> Result<Vec<Self>, PinDirError> {
        let mut found = Vec::new();
        if is_bpffs(Path::new(BPFFS))? {
            search(Path::new(BPFFS), DEPTH, &mut found)?;
        }
        Ok(found)
    }

    /// The process that holds the directory, as far as it is seen from here: locks of other process
    /// namespaces are not.
    pub fn holder(&self) -> Option<String> {
        holder(fs::metadata(self.path()).ok()?.ino())
    }

    /// Whether somebody holds the directory. Whoever takes it at this very moment may be refused.
    pub(crate) fn is_held(&self) -> bool {
        PinLock::is_held(self.path())
    }

    /// Whether the directory can be made: everything that is missing of its path must have a name
    /// that a BPF file system takes. Makes nothing.
    pub(super) fn check_name(&self) -> Result<(), PinDirError> {
        let missing = if let Ok(rest) = self.path().strip_prefix(BPFFS) {
            // It may not be mounted yet.
            rest
        } else {
            let existing = existing(self.path());
            if !is_bpffs(existing)? {
                return Err(PinDirError::NotBpffs {
                    path: self.path().to_owned(),
                });
            }
            self.path().strip_prefix(existing).unwrap_or(self.path())
        };
        let has_dot = |part: &Component<'_>| part.as_os_str().as_encoded_bytes().contains(&b'.');
        match missing.components().find(has_dot) {
            None => Ok(()),
            Some(part) => Err(PinDirError::Dot {
                path: self.path().to_owned(),
                name: PathBuf::from(part.as_os_str()),
            }),
        }
    }
}

/// The longest part of a path that exists.
fn existing(path: &Path) -> &Path {
    let exists = |one: &&Path| one.exists();
    match path.ancestors().find(exists) {
        Some(found) if !found.as_os_str().is_empty() => found,
        _ => Path::new("."),
    }
}

fn search(directory: &Path, depth: usize, found: &mut Vec<PinDir>) -> Result<(), PinDirError> {
    let mut inside = entries(directory)?;
    inside.sort();
    let pins = PinDir::new(directory);
    let own = [pins.links(), pins.filters(), pins.next()];
    let is_made = own.iter().all(|one| inside.contains(one));
    if is_made || inside.contains(&directory.join(names::NODE_STATE)) {
        found.push(pins);
        return Ok(());
    }
    let Some(depth) = depth.checked_sub(1) else {
        return Ok(());
    };
    for one in inside {
        let kind = match fs::symlink_metadata(&one) {
            Ok(data) => data.file_type(),
            // It went away meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io_error("looking at", &one)(error)),
        };
        if kind.is_dir() {
            search(&one, depth, found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_pin_directory_is_found_by_what_stands_in_it() {
        let top = format!("/sys/fs/bpf/find-test-{}", std::process::id());
        let pins = PinDir::new(format!("{top}/inside"));
        fs::create_dir_all(pins.path()).unwrap();
        fs::set_permissions(pins.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let is_found = || PinDir::all().unwrap().contains(&pins);
        assert!(!is_found(), "an empty directory is nobody's");
        let locked = pins.lock().unwrap();
        assert!(is_found());
        assert_eq!(pins.holder(), Some(std::process::id().to_string()));
        drop(locked);
        assert_eq!(pins.holder(), None);
        pins.lock().unwrap().remove_all().unwrap();
        fs::remove_dir(top).unwrap();
    }

    #[test]
    fn a_name_with_a_dot_is_refused_before_anything_is_made() {
        let top = format!("/sys/fs/bpf/dot-test-{}", std::process::id());
        let refused = PinDir::new(format!("{top}/v1.2/pins")).lock().unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("v1.2") && text.contains("dot"), "{text}");
        assert!(!Path::new(&top).exists());
        let elsewhere = tempfile::tempdir().unwrap();
        let pins = PinDir::new(elsewhere.path().join("pins"));
        assert!(matches!(pins.lock(), Err(PinDirError::NotBpffs { .. })));
        assert!(!pins.path().exists());
    }
}
