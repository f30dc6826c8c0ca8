//! Debian's cloud kernels: small, with the modules that the tests need.
//!
//! Invariant: what is cached is complete; the file `version` is written last.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::apt::Apt;

/// An unpacked kernel with its modules and a busybox.
pub(super) struct Kernel {
    /// As `uname -r` prints it.
    pub(super) version: String,
    /// The bootable image.
    pub(super) image: PathBuf,
    /// The directory of its modules.
    pub(super) modules: PathBuf,
    /// A static busybox of the same suite.
    pub(super) busybox: PathBuf,
}

impl Kernel {
    /// The kernel of a suite: cached in `dir`, else downloaded.
    pub(super) fn fetch(dir: &Path, suite: &str, mirror: Option<&str>) -> Result<Self> {
        let note = dir.join("version");
        if let Ok(version) = fs::read_to_string(&note) {
            return Self::in_tree(&dir.join("tree"), version);
        }
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| format!("clearing {}", dir.display()))?;
        }
        let apt = Apt::of_suite(&dir.join("apt"), suite, mirror)?;
        // Point releases replace packages, so the version is whatever the metapackage names today.
        let depends = apt.depends("linux-image-cloud-amd64")?;
        let version = depends
            .split([' ', ',', '|'])
            .find_map(|word| word.strip_prefix("linux-image-"))
            .with_context(|| format!("no kernel among `{depends}`"))?
            .to_owned();
        let split = format!("linux-binary-{version}");
        let mut packages = if apt.has(&split) {
            vec![
                split,
                format!("linux-modules-{version}"),
                format!("linux-base-{version}"),
            ]
        } else {
            vec![format!("linux-image-{version}")]
        };
        packages.push("busybox-static".to_owned());
        let tree = dir.join("tree");
        apt.unpack(&packages, &tree)?;
        let kernel = Self::in_tree(&tree, version)?;
        // The packages and lists are not needed again.
        fs::remove_dir_all(dir.join("apt")).context("removing what was unpacked")?;
        fs::write(&note, &kernel.version).with_context(|| format!("writing {}", note.display()))?;
        Ok(kernel)
    }

    /// Finds the parts, which lie elsewhere in every few releases.
    fn in_tree(tree: &Path, version: String) -> Result<Self> {
        let first = |candidates: [String; 2]| -> Result<PathBuf> {
            let path = candidates
                .iter()
                .map(|path| tree.join(path))
                .find(|path| path.exists());
            match path {
                Some(path) => Ok(path),
                None => bail!(
                    "neither {} nor {} in {}",
                    candidates[0],
                    candidates[1],
                    tree.display()
                ),
            }
        };
        let image = first([
            format!("boot/vmlinuz-{version}"),
            format!("usr/lib/modules/{version}/vmlinuz"),
        ])?;
        let modules = first([
            format!("lib/modules/{version}"),
            format!("usr/lib/modules/{version}"),
        ])?;
        let busybox = first(["bin/busybox".to_owned(), "usr/bin/busybox".to_owned()])?;
        Ok(Self {
            version,
            image,
            modules,
            busybox,
        })
    }
}
