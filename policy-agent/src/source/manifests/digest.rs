//! Digests of files, and of a directory of them: what a revision of manifests is.
//!
//! The revision of a directory is the SHA-256 of what `sha256sum` prints for its manifests in the
//! byte order of their names, so that whoever wrote them can tell it with a shell. Files that
//! cannot be read are not part of it: they are refused by name.

use std::fmt::{self, Write as _};

use sha2::{Digest as _, Sha256};

use crate::source::Revision;

/// The SHA-256 of a file's bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({self})")
    }
}

/// The revision of a directory with these files, in the order of their names.
pub(super) fn revision<'a>(files: impl Iterator<Item = (&'a str, Digest)>) -> Revision {
    let mut lines = Sha256::new();
    let mut line = String::new();
    for (name, digest) in files {
        line.clear();
        // As `sha256sum` does, so that a line is one line.
        let escaped = name.contains(['\\', '\n', '\r']);
        let mark = if escaped { "\\" } else { "" };
        let name = if escaped {
            &name
                .replace('\\', "\\\\")
                .replace('\n', "\\n")
                .replace('\r', "\\r")
        } else {
            name
        };
        // Writing to a text does not fail.
        let _ = writeln!(line, "{mark}{digest}  {name}");
        lines.update(line.as_bytes());
    }
    let digest = Digest(lines.finalize().into());
    Revision::new(format!("sha256:{digest}"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_revision_is_what_a_shell_says_of_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let files = [("a.yaml", ""), ("b\\ c.json", "{}\n"), ("z\nz.yml", "x: 1")];
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let said = Command::new("sh")
            .args(["-c", "LC_ALL=C sha256sum * | sha256sum"])
            .current_dir(directory.path())
            .output()
            .unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let ours = revision(files.into_iter().map(|(name, text)| {
            let digest = Digest::of(text.as_bytes());
            (name, digest)
        }));
        assert_eq!(format!("{}  -\n", ours.as_str()), format!("sha256:{said}"));
    }
}
