//! Reading a directory: which of its files are manifests, and what they say now.
//!
//! Not recursive, as `kubectl apply -f DIR` is not: mounted ConfigMaps keep their versions in
//! subdirectories. Invariant: only regular files of a bounded size are read, and opening one never
//! waits for anybody.

use std::{
    fs::{self, FileType},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
    sync::Arc,
};

use super::{
    digest::{Digest, revision},
    file::File,
    store::Manifests,
};
use crate::source::{Problem, Revision};

/// More than a file of manifests may have, in bytes.
const MAX_SIZE: u64 = 256 << 20;

/// Whether a file of this name is a manifest.
pub(super) fn is_manifest(name: &str) -> bool {
    let hidden = name.starts_with('.');
    !hidden
        && [".yaml", ".yml", ".json"]
            .iter()
            .any(|end| name.ends_with(end))
}

/// The names of all manifests of a directory, in order.
///
/// # Errors
///
/// When the directory cannot be listed.
pub fn list_directory(directory: &Path) -> io::Result<Vec<Arc<str>>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        // A name that is not UTF-8 is shown with replacement characters and cannot be opened.
        if let Some(name) = name.to_str().filter(|name| is_manifest(name))
            && !directory.join(name).is_dir()
        {
            names.push(name.into());
        }
    }
    names.sort();
    Ok(names)
}

/// What a file says now; `None` when it is not there.
pub fn read_file(path: &Path) -> Option<File> {
    match read_bytes(path) {
        Ok(bytes) => Some(File::read(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(File::unreadable(Problem::Unreadable(error.to_string()))),
    }
}

/// The bytes of a regular file.
fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a device may do something by itself.
    check(&fs::metadata(path)?)?;
    let file = fs::OpenOptions::new()
        .read(true)
        // It may have become a FIFO meanwhile.
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    check(&metadata)?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    // Somebody may be adding to it.
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(too_large());
    }
    Ok(bytes)
}

fn check(metadata: &fs::Metadata) -> io::Result<()> {
    if !metadata.is_file() {
        let kind = kind(metadata.file_type());
        return Err(io::Error::other(format!("it is {kind}, not a file")));
    }
    if metadata.len() > MAX_SIZE {
        return Err(too_large());
    }
    Ok(())
}

fn too_large() -> io::Error {
    io::Error::other(format!("it is larger than {} MiB", MAX_SIZE >> 20))
}

fn kind(file: FileType) -> &'static str {
    if file.is_fifo() {
        "a named pipe"
    } else if file.is_socket() {
        "a socket"
    } else if file.is_char_device() || file.is_block_device() {
        "a device"
    } else if file.is_dir() {
        "a directory"
    } else {
        "something else"
    }
}

/// Reads a whole directory once.
///
/// # Errors
///
/// When the directory cannot be listed; what is wrong with its files is among
/// [`Manifests::refused`].
pub fn load(directory: &Path) -> io::Result<Manifests> {
    let mut manifests = Manifests::default();
    for name in list_directory(directory)? {
        if let Some(file) = read_file(&directory.join(&*name)) {
            manifests.replace(&name, file);
        }
    }
    Ok(manifests)
}

/// The revision of what a directory says now.
///
/// # Errors
///
/// When the directory cannot be listed.
pub fn revision_of(directory: &Path) -> io::Result<Revision> {
    let names = list_directory(directory)?;
    let files = names.iter().filter_map(|name| {
        let bytes = read_bytes(&directory.join(&**name)).ok()?;
        Some((&**name, Digest::of(&bytes)))
    });
    Ok(revision(files))
}

#[cfg(test)]
mod tests {
    use std::os::unix::{ffi::OsStrExt as _, net::UnixListener};

    use super::*;

    fn refusal(path: &Path) -> String {
        let file = read_file(path).unwrap();
        let mut manifests = Manifests::default();
        manifests.replace(&"f.yaml".into(), file);
        manifests.refused()[0].to_string()
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe.yaml");
        let name = std::ffi::CString::new(pipe.as_os_str().as_bytes()).unwrap();
        nix::unistd::mkfifo(name.as_c_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(
            refusal(&pipe),
            "f.yaml: cannot be read: it is a named pipe, not a file"
        );
        let socket = directory.path().join("socket.yaml");
        let _listener = UnixListener::bind(&socket).unwrap();
        assert!(refusal(&socket).contains("it is a socket"));
        assert!(refusal(Path::new("/dev/zero")).contains("it is a device"));
        assert!(refusal(directory.path()).contains("it is a directory"));
    }

    #[test]
    fn a_file_larger_than_any_manifest_is_refused_unread() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("large.yaml");
        let file = fs::File::create(&path).unwrap();
        file.set_len(MAX_SIZE + 1).unwrap();
        assert!(refusal(&path).contains("it is larger than 256 MiB"));
        file.set_len(0).unwrap();
        assert!(read_file(&path).unwrap().blank);
    }
}
