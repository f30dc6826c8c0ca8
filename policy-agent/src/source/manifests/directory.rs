//! Reading a directory: which of its files are manifests, and what they say now.
//!
//! Not recursive, as `kubectl apply -f DIR` is not: mounted ConfigMaps keep their versions in
//! subdirectories.

use std::{io, path::Path, sync::Arc};

use super::{file::File, store::Manifests};

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
    for entry in std::fs::read_dir(directory)? {
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
    match std::fs::read(path) {
        Ok(bytes) => Some(File::read(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(File::unreadable(format!("cannot be read: {error}"))),
    }
}

/// Reads a whole directory once.
///
/// # Errors
///
/// When the directory cannot be listed; what is wrong with its files is among
/// [`Manifests::problems`].
pub fn load(directory: &Path) -> io::Result<Manifests> {
    let mut manifests = Manifests::default();
    for name in list_directory(directory)? {
        if let Some(file) = read_file(&directory.join(&*name)) {
            manifests.replace(&name, file);
        }
    }
    Ok(manifests)
}
