//! A node's part of each hierarchy of control groups. What the rest of the machine has is not touched.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};

const ROOT: &str = "/sys/fs/cgroup";
/// Files of a group of processors that are empty in a new one, which then takes no process.
const PROCESSORS: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// A hierarchy as the machine has it mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    path: PathBuf,
    /// What says which one it is to the kernel; none for the second version, of which there is one.
    options: Option<String>,
}

/// All of them.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading the mounts")?;
    Ok(mounts.lines().filter_map(hierarchy).collect())
}

fn hierarchy(line: &str) -> Option<Hierarchy> {
    const COMMON: [&str; 6] = ["rw", "ro", "nosuid", "nodev", "noexec", "relatime"];
    let mut words = line.split(' ').skip(1);
    let (path, kind, options) = (words.next()?, words.next()?, words.next()?);
    if !path.starts_with(ROOT) {
        return None;
    }
    let own = options
        .split(',')
        .filter(|option| !COMMON.contains(option) && !option.starts_with("release_agent"));
    let mut own: Vec<&str> = own.collect();
    let options = match kind {
        "cgroup" => {
            if own.iter().any(|option| option.starts_with("name=")) {
                own.retain(|option| option.starts_with("name="));
                own.insert(0, "none");
            }
            Some(own.join(","))
        }
        "cgroup2" => None,
        _ => return None,
    };
    Some(Hierarchy {
        path: path.into(),
        options,
    })
}

/// Puts this process into a group of its own in each hierarchy.
pub(crate) fn join(hierarchies: &[Hierarchy], cluster: &str, node: &str) -> Result<()> {
    for hierarchy in hierarchies {
        let mut group = hierarchy.path.clone();
        for name in [cluster, node] {
            let parent = group.clone();
            group.push(name);
            fs::create_dir_all(&group).with_context(|| format!("making {}", group.display()))?;
            if hierarchy.options.is_none() {
                pass_controllers_on(&parent);
                continue;
            }
            for file in PROCESSORS {
                if let Ok(value) = fs::read_to_string(parent.join(file)) {
                    fs::write(group.join(file), value)?;
                }
            }
        }
        fs::write(group.join("cgroup.procs"), "0")
            .with_context(|| format!("entering {}", group.display()))?;
    }
    Ok(())
}

/// Lets the children of a group of the second version have all controllers that it has. Best effort: a
/// group with processes cannot, and what is not passed on does not limit anything.
fn pass_controllers_on(group: &Path) {
    let Ok(controllers) = fs::read_to_string(group.join("cgroup.controllers")) else {
        return;
    };
    for controller in controllers.split_whitespace() {
        let _ = fs::write(
            group.join("cgroup.subtree_control"),
            format!("+{controller}"),
        );
    }
}

/// Mounts the hierarchies anew, below a fresh /sys: in a cgroup namespace, whose own group is then the
/// root of each.
pub(crate) fn mount_own(hierarchies: &[Hierarchy]) -> Result<()> {
    let none: Option<&str> = None;
    let root = Path::new(ROOT);
    if !hierarchies.iter().any(|one| one.path == root) {
        mount(
            Some("tmpfs"),
            root,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=755"),
        )?;
    }
    for Hierarchy { path, options } in hierarchies {
        fs::create_dir_all(path)?;
        let (kind, data) = match options {
            Some(options) => ("cgroup", Some(options.as_str())),
            None => ("cgroup2", none),
        };
        mount(Some(kind), path, Some(kind), MsFlags::empty(), data)
            .with_context(|| format!("mounting {}", path.display()))?;
        let name = path.file_name().and_then(|name| name.to_str());
        for alias in name.iter().flat_map(|name| name.split(',')) {
            let link = root.join(alias);
            if !link.exists() && path != root {
                std::os::unix::fs::symlink(path, link)?;
            }
        }
    }
    // With the second version, a group that has processes of its own passes nothing on.
    if hierarchies.iter().any(|one| one.path == root) {
        let init = root.join("init");
        fs::create_dir_all(&init)?;
        fs::write(init.join("cgroup.procs"), "0")?;
        pass_controllers_on(root);
    }
    Ok(())
}

/// Removes a cluster's groups, in which nobody is any more.
pub(crate) fn remove(cluster: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let group = hierarchy.path.join(cluster);
        if group.is_dir() {
            remove_group(&group)?;
        }
    }
    Ok(())
}

fn remove_group(group: &Path) -> Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_group(&entry.path())?;
        }
    }
    fs::remove_dir(group).with_context(|| format!("removing {}", group.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_and_a_named_hierarchy_are_known_by_what_mounts_them() {
        let of = |line: &str| hierarchy(line).map(|one| one.options);
        let one = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,relatime,cpu,cpuacct 0 0";
        assert_eq!(of(one), Some(Some("cpu,cpuacct".to_owned())));
        let named = "cgroup /sys/fs/cgroup/systemd cgroup rw,relatime,xattr,name=systemd 0 0";
        assert_eq!(of(named), Some(Some("none,name=systemd".to_owned())));
        let second = "cgroup2 /sys/fs/cgroup cgroup2 rw,relatime,nsdelegate 0 0";
        assert_eq!(of(second), Some(None));
        assert_eq!(of("tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0"), None);
        assert_eq!(of("cgroup2 /mnt cgroup2 rw 0 0"), None);
    }
}
