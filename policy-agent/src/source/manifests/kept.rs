//! What was accepted, kept for the next run: a restart that finds a file broken goes on with the
//! last accepted form of its objects, as a running agent does.
//!
//! Owns the form of the state file: a version, the revision as a line of JSON, one such line per object,
//! a digest of all that.
//! It is read as a whole or not at all, and written beside and renamed. Invariant: what is read
//! from it is converted as a manifest is, and never stands for an object that is absent from a
//! directory that could be listed.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Read as _, Write as _},
    iter,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::digest::Digest;
use crate::{
    convert::{self, Object, ObjectRef},
    source::Revision,
};

/// The first line; another version is not read.
const HEADER: &str = "policy-agent accepted manifests, version 1\n";

/// More than a state file may have, in bytes.
const MAX_SIZE: u64 = 1 << 30;

/// An object that was accepted, in the file that defines it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kept {
    pub(super) file: Arc<str>,
    pub(super) key: ObjectRef,
    pub(super) object: Object,
    /// As it was written.
    pub(super) written: Arc<str>,
}

/// All that was accepted.
#[derive(Debug, Default, PartialEq)]
pub(super) struct State {
    pub(super) kept: Vec<Kept>,
    /// The directory's, when that was accepted.
    pub(super) revision: Option<Revision>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Revision { revision: &'a str },
    Object { file: &'a str, object: &'a str },
}

/// Where the state of one directory of manifests is.
#[derive(Debug)]
pub(super) struct StateFile {
    directory: PathBuf,
    path: PathBuf,
}

impl StateFile {
    /// The state of these manifests in this directory.
    pub(super) fn new(directory: &Path, manifests: &Path) -> Self {
        let name = Digest::of(manifests.as_os_str().as_encoded_bytes()).to_string();
        Self {
            path: directory.join(format!("{}.manifests", name.get(..16).unwrap_or(&name))),
            directory: directory.to_owned(),
        }
    }

    /// The directory that it is in.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What an earlier run kept; nothing when there was none.
    pub(super) fn read(&self) -> io::Result<State> {
        match self.check_directory() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            other => other?,
        }
        let file = match OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&self.path)
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            other => other?,
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("the state is not a file"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_SIZE).read_to_end(&mut bytes)?;
        parse(&bytes).ok_or_else(|| io::Error::other("the state is damaged, or of another version"))
    }

    /// Keeps this, in the place of what was kept.
    pub(super) fn write<'a>(
        &self,
        revision: &Revision,
        objects: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)?;
        self.check_directory()?;
        let aside = self.path.with_extension("new");
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside)?;
        file.write_all(&render(revision, objects)?)?;
        file.sync_all()?;
        fs::rename(&aside, &self.path)?;
        fs::File::open(&self.directory)?.sync_all()
    }

    /// The directory is ours and nobody else's.
    fn check_directory(&self) -> io::Result<()> {
        let metadata = fs::symlink_metadata(&self.directory)?;
        let own = nix::unistd::geteuid().as_raw();
        if !metadata.is_dir() || metadata.uid() != own || metadata.mode() & 0o077 != 0 {
            return Err(io::Error::other(format!(
                "it must be a directory of user {own} with mode 0700"
            )));
        }
        Ok(())
    }
}

fn render<'a>(
    revision: &Revision,
    objects: impl Iterator<Item = (&'a str, &'a str)>,
) -> io::Result<Vec<u8>> {
    let mut bytes = HEADER.as_bytes().to_vec();
    let revision = revision.as_str();
    let objects = objects.map(|(file, object)| Line::Object { file, object });
    for line in iter::once(Line::Revision { revision }).chain(objects) {
        serde_json::to_writer(&mut bytes, &line)?;
        bytes.push(b'\n');
    }
    let digest = Digest::of(&bytes);
    writeln!(bytes, "{digest}")?;
    Ok(bytes)
}

/// `None` when anything of it is not as it was written. An object that this version would not
/// accept is left out: it never counted for this version.
fn parse(bytes: &[u8]) -> Option<State> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Owned {
        Revision { revision: String },
        Object { file: String, object: String },
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let end = text.strip_suffix('\n')?.rfind('\n')? + 1;
    let (lines, digest) = text.split_at_checked(end)?;
    if digest.trim_end() != Digest::of(lines.as_bytes()).to_string() {
        return None;
    }
    let mut state = State::default();
    for line in lines.strip_prefix(HEADER)?.lines() {
        let (file, object) = match serde_json::from_str(line).ok()? {
            Owned::Revision { revision } => {
                state.revision = Some(Revision::new(revision));
                continue;
            }
            Owned::Object { file, object } => (file, object),
        };
        let written: Value = serde_json::from_str(&object).ok()?;
        if let (Some(key), Ok(read)) = (convert::identify(&written), convert::strict(&written)) {
            state.kept.push(Kept {
                file: file.into(),
                key,
                object: read,
                written: object.into(),
            });
        }
    }
    Some(state)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::*;

    const POLICY: &str = r#"{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"p"},"spec":{"podSelector":{}}}"#;

    fn now() -> Revision {
        Revision::new("now")
    }

    fn state() -> Vec<u8> {
        render(&now(), [("a\n.yaml", POLICY)].into_iter()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("state");
        let state = StateFile::new(&directory, Path::new("/manifests"));
        assert_eq!(state.read().unwrap(), State::default());
        for count in [2, 1] {
            let objects = [("a.yaml", POLICY), ("b.yaml", POLICY)];
            let objects = objects.into_iter().take(count);
            state.write(&now(), objects).unwrap();
            let read = state.read().unwrap();
            assert_eq!((read.kept.len(), read.revision), (count, Some(now())));
        }
        let mode = fs::metadata(&directory).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o700);
        let other = StateFile::new(&directory, Path::new("/others"));
        assert_eq!(other.read().unwrap(), State::default());
    }

    #[test]
    fn a_directory_that_others_may_enter_is_not_believed() {
        let root = tempfile::tempdir().unwrap();
        let private = fs::Permissions::from_mode(0o700);
        fs::set_permissions(root.path(), private).unwrap();
        let state = StateFile::new(root.path(), Path::new("/manifests"));
        let objects = [("a.yaml", POLICY)].into_iter();
        state.write(&now(), objects).unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(state.read().is_err());
        assert!(state.write(&now(), iter::empty()).is_err());
    }

    proptest! {
        #[test]
        fn a_damaged_state_is_not_read_at_all(
            at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
        ) {
            let mut bytes = state();
            prop_assert_eq!(parse(&bytes).map(|state| state.kept.len()), Some(1));
            let at = at.index(bytes.len());
            let same = !cut && bytes[at] == byte;
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] = byte;
            }
            prop_assume!(!same);
            prop_assert_eq!(parse(&bytes), None);
        }

        #[test]
        fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(parse(&bytes), None);
        }
    }
}
