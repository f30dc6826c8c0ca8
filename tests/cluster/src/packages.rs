//! Programs of a node that the distribution has: unpacked beside what is built, not installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::binary::cache;

/// Debian's names. The plug-ins are those that lead a pod into the network.
const PACKAGES: [&str; 4] = [
    "containerd",
    "runc",
    "containernetworking-plugins",
    "busybox-static",
];

/// The directory into which they are unpacked, with the file system's layout.
///
/// # Errors
/// They cannot be had.
pub(crate) fn unpacked() -> Result<PathBuf> {
    let directory = cache()?.join("packages");
    if directory.is_dir() {
        return Ok(directory);
    }
    eprintln!(
        "unpacking {} once, to {}",
        PACKAGES.join(", "),
        directory.display()
    );
    let unfinished = directory.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(&unfinished)?;
    let mut download = Command::new("apt-get");
    download.args(["--quiet", "download"]).args(PACKAGES);
    run(&mut download, &unfinished).context("these packages are taken from Debian")?;
    for entry in fs::read_dir(&unfinished)? {
        let package = entry?.path();
        let mut unpack = Command::new("dpkg-deb");
        run(
            unpack.arg("--extract").args([&package, Path::new(".")]),
            &unfinished,
        )?;
        fs::remove_file(package)?;
    }
    fs::rename(&unfinished, &directory)?;
    Ok(directory)
}

fn run(command: &mut Command, directory: &Path) -> Result<()> {
    let name = command.get_program().to_owned();
    let Ok(output) = command.current_dir(directory).output() else {
        bail!("there is no {}", name.display());
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{}: {}",
        name.display(),
        errors.trim()
    );
    Ok(())
}
