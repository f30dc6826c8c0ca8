//! A program with the libraries that it loads, small enough for an initramfs.
//!
//! The guest runs the very program that this machine's tests are built with: nothing is built for
//! it, least of all everything a second time for a static one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::command;

/// A program without symbols, and its libraries: where the guest must have them, and from where.
pub(super) struct Packed {
    pub(super) program: Vec<u8>,
    pub(super) libraries: Vec<PathBuf>,
}

impl Packed {
    /// Strips `program` into `scratch` and asks the dynamic linker what it loads.
    pub(super) fn of(program: &Path, scratch: &Path) -> Result<Self> {
        command::read(
            Command::new("strip")
                .args(["--strip-all", "-o"])
                .arg(scratch)
                .arg(program),
        )?;
        let loaded = command::read(Command::new("ldd").arg(scratch))?;
        let libraries = paths(&loaded);
        ensure!(!libraries.is_empty(), "ldd names no library:\n{loaded}");
        Ok(Self {
            program: fs::read(scratch).with_context(|| format!("reading {}", scratch.display()))?,
            libraries,
        })
    }
}

/// The files in ldd's answer: `name => /path (address)`, and the linker as `/path (address)`. The
/// kernel's own library has no file.
fn paths(loaded: &str) -> Vec<PathBuf> {
    let file = |line: &str| {
        let path = line.split_once("=> ").map_or(line, |(_, path)| path);
        let path = path.trim_start().split(" (").next()?;
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    loaded.lines().filter_map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_linker_are_files_and_the_kernels_page_is_none() {
        let loaded = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f01)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f02)\n";
        assert_eq!(
            paths(loaded),
            ["/lib/x/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from)
        );
    }
}
