//! The files that are kept, by their paths below the root.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::root;

/// Every file but those of the build, of git, and of tools that hide theirs.
///
/// # Errors
/// A directory cannot be listed.
pub fn files() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    below(Path::new(""), &mut found)?;
    found.sort();
    Ok(found)
}

fn below(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let place = root().join(directory);
    let entries = fs::read_dir(&place).with_context(|| format!("listing {}", place.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let path = directory.join(&name);
        let hidden = name.as_encoded_bytes().starts_with(b".") && name != ".ci" && name != ".cargo";
        if !entry.file_type()?.is_dir() {
            found.push(path);
        } else if !hidden && name != "target" {
            below(&path, found)?;
        }
    }
    Ok(())
}

/// The text of a file below the root.
///
/// # Errors
/// It cannot be read as text.
pub fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = root().join(path);
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}
