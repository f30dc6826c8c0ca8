//! Which directory entries decide what a path leads to.

use std::{
    collections::VecDeque,
    ffi::OsString,
    path::{Component, Path, PathBuf},
};

/// More links than the kernel follows (`MAXSYMLINKS`) are a loop.
const MAX_LINKS: usize = 40;

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// The directory, free of links.
    pub(super) directory: PathBuf,
    /// The name in it.
    pub(super) name: OsString,
}

/// The links on the way to what an absolute path leads to, and the end of the way: when one of
/// these entries changes, the path leads elsewhere.
pub(super) fn entries(path: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut links = 0;
    let mut resolved = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = names(path);
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&name);
        let target = std::fs::read_link(&next).ok();
        if target.is_some() || rest.is_empty() {
            entries.push(Entry {
                directory: resolved.clone(),
                name,
            });
        }
        let Some(target) = target else {
            resolved = next;
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            break;
        }
        if target.is_absolute() {
            resolved = PathBuf::from("/");
        }
        for name in names(&target).into_iter().rev() {
            rest.push_front(name);
        }
    }
    entries
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_mounted_config_maps_file_depends_on_its_version_link() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("..v1")).unwrap();
        std::fs::write(root.join("..v1/p.yaml"), "").unwrap();
        symlink("..v1", root.join("..data")).unwrap();
        symlink("..data/p.yaml", root.join("p.yaml")).unwrap();
        let expected = [
            (root.clone(), "p.yaml"),
            (root.clone(), "..data"),
            (root.join("..v1"), "p.yaml"),
        ];
        let expected = expected.map(|(directory, name)| Entry {
            directory,
            name: name.into(),
        });
        assert_eq!(entries(&root.join("p.yaml")), expected);
    }

    #[test]
    fn a_loop_of_links_has_an_end() {
        let root = tempfile::tempdir().unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        assert!(!entries(&root.path().join("a")).is_empty());
    }
}
