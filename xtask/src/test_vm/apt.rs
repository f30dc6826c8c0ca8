//! A private apt: its own lists and cache under the target directory, the machine's keys and,
//! unless told otherwise, its sources. Installs nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::command;

/// Debian's archive keys where releases trust no key by default.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
];

/// Index files that nobody here reads; they are most of a download.
const UNREAD: [&str; 3] = ["DEP-11", "Contents-deb", "CNF"];

/// One set of sources and what was downloaded from it.
pub(super) struct Apt {
    dir: PathBuf,
    /// A sources.list of its own, and nothing installed beside it; none for the machine's sources
    /// and state.
    sources: Option<PathBuf>,
}

impl Apt {
    /// The machine's own sources, with lists that need no root to be fresh.
    pub(super) fn of_machine(dir: &Path) -> Result<Self> {
        Self::new(dir, None)
    }

    /// One Debian suite, from `mirror` or else the mirror that the machine uses.
    pub(super) fn of_suite(dir: &Path, suite: &str, mirror: Option<&str>) -> Result<Self> {
        let mirror = match mirror {
            Some(mirror) => mirror.to_owned(),
            None => configured_mirror()?,
        };
        let options = KEYRINGS
            .iter()
            .find(|path| Path::new(path).exists())
            .map_or_else(String::new, |path| format!("[signed-by={path}] "));
        Self::new(dir, Some(format!("deb {options}{mirror} {suite} main\n")))
    }

    fn new(dir: &Path, list: Option<String>) -> Result<Self> {
        for below in ["lists/partial", "cache/archives/partial", "debs"] {
            let path = dir.join(below);
            fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        }
        let sources = match list {
            Some(list) => {
                let path = dir.join("sources.list");
                fs::write(&path, list).with_context(|| format!("writing {}", path.display()))?;
                let status = dir.join("status");
                fs::write(&status, "").with_context(|| format!("writing {}", status.display()))?;
                Some(path)
            }
            None => None,
        };
        let apt = Self {
            dir: dir.to_path_buf(),
            sources,
        };
        command::read(apt.command("apt-get").arg("update"))?;
        Ok(apt)
    }

    /// apt-get or apt-cache on this state.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let mut option = |name: &str, value: &str| {
            command.arg("-o").arg(format!("{name}={value}"));
        };
        option(
            "Dir::State::Lists",
            &self.dir.join("lists").to_string_lossy(),
        );
        option("Dir::Cache", &self.dir.join("cache").to_string_lossy());
        if let Some(sources) = &self.sources {
            option("Dir::Etc::sourcelist", &sources.to_string_lossy());
            option("Dir::Etc::sourceparts", "-");
            // Else what is installed here, and what is pinned here, takes part in the choice of a
            // version, and a suite cannot give what is older than that.
            option(
                "Dir::State::status",
                &self.dir.join("status").to_string_lossy(),
            );
            option("Dir::Etc::preferences", "/dev/null");
            option("Dir::Etc::preferencesparts", "/dev/null");
        }
        for index in UNREAD {
            option(
                &format!("Acquire::IndexTargets::deb::{index}::DefaultEnabled"),
                "false",
            );
        }
        option("Acquire::Languages", "none");
        // As root, apt would drop to a user who cannot write below the target directory.
        option("APT::Sandbox::User", "root");
        command
    }

    /// Does this set of sources have a package of that name?
    pub(super) fn has(&self, package: &str) -> bool {
        command::read(self.command("apt-cache").args(["show", package]))
            .is_ok_and(|text| !text.is_empty())
    }

    /// The field `Depends` of a package.
    pub(super) fn depends(&self, package: &str) -> Result<String> {
        let text = command::read(self.command("apt-cache").args(["show", package]))?;
        text.lines()
            .find_map(|line| line.strip_prefix("Depends: "))
            .map(str::to_owned)
            .with_context(|| format!("{package} has no dependencies"))
    }

    /// Downloads packages and unpacks them below `root`.
    pub(super) fn unpack(&self, packages: &[String], root: &Path) -> Result<()> {
        let debs = self.dir.join("debs");
        eprintln!("downloading {}", packages.join(" "));
        command::read(
            self.command("apt-get")
                .current_dir(&debs)
                .arg("download")
                .args(packages),
        )?;
        fs::create_dir_all(root).with_context(|| format!("making {}", root.display()))?;
        for entry in fs::read_dir(&debs).context("listing the downloaded packages")? {
            let deb = entry.context("listing the downloaded packages")?.path();
            command::read(Command::new("dpkg").arg("-x").arg(&deb).arg(root))?;
        }
        Ok(())
    }
}

/// The mirror of Debian's main archive that apt is configured with.
fn configured_mirror() -> Result<String> {
    let targets = command::read(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    // The archive's own path is the same on every mirror; security and backports archives have
    // others.
    match targets
        .lines()
        .find(|uri| uri.trim_end_matches('/').ends_with("/debian"))
    {
        Some(uri) => Ok(uri.to_owned()),
        None => {
            bail!("apt's configuration names no mirror of Debian's archive: give one with --mirror")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITE: &str = "Package: tool\nVersion: 1\nArchitecture: all\nFilename: ./tool.deb\nSize: 1\nMD5sum: d41d8cd98f00b204e9800998ecf8427e\n";
    const INSTALLED: &str = "Package: tool\nStatus: install ok installed\nVersion: 9\nArchitecture: all\nMaintainer: nobody\nDescription: newer\n";

    #[test]
    fn a_suite_gives_its_own_version_of_what_is_installed_here_in_a_newer_one() {
        let dir = std::env::temp_dir().join(format!("xtask-apt-{}", std::process::id()));
        let suite = dir.join("suite");
        fs::create_dir_all(&suite).unwrap();
        fs::write(suite.join("Packages"), SUITE).unwrap();
        fs::write(dir.join("installed"), INSTALLED).unwrap();
        let configuration = format!("Dir::State::status \"{}/installed\";\n", dir.display());
        fs::write(dir.join("apt.conf"), configuration).unwrap();
        let list = format!("deb [trusted=yes] file:{} ./\n", suite.display());
        let apt = Apt::new(&dir.join("apt"), Some(list)).unwrap();
        let policy = command::read(
            apt.command("apt-cache")
                .env("APT_CONFIG", dir.join("apt.conf"))
                .env("LC_ALL", "C")
                .args(["policy", "tool"]),
        );
        fs::remove_dir_all(&dir).unwrap();
        let policy = policy.unwrap();
        assert!(policy.contains("Installed: (none)"), "{policy}");
        assert!(policy.contains("Candidate: 1\n"), "{policy}");
    }
}
