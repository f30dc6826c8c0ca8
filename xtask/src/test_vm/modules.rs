//! Kernel modules in the order in which they must be loaded. Debian's packages carry no
//! `modules.dep`, so the order comes from the modules themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

/// What the tests need of a kernel that has it as modules.
const WANTED: [&str; 5] = ["veth", "sch_ingress", "cls_bpf", "bridge", "sctp"];

/// A module, unpacked.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

/// The wanted modules and what they depend on, dependencies first.
pub(super) fn in_load_order(dir: &Path) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    list(&dir.join("kernel"), &mut files)?;
    let built_in =
        fs::read_to_string(dir.join("modules.builtin")).context("reading modules.builtin")?;
    let mut order = Order {
        files,
        built_in: built_in.lines().filter_map(name).collect(),
        ..Order::default()
    };
    for wanted in WANTED {
        order.add(wanted)?;
    }
    Ok(order.modules)
}

#[derive(Default)]
struct Order {
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
    seen: BTreeSet<String>,
    modules: Vec<Module>,
}

impl Order {
    fn add(&mut self, name: &str) -> Result<()> {
        if self.built_in.contains(name) || !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let path = self
            .files
            .get(name)
            .with_context(|| format!("this kernel has no module {name}"))?;
        let content = read(path)?;
        for dependency in dependencies(&content) {
            self.add(&dependency)?;
        }
        self.modules.push(Module {
            name: name.to_owned(),
            content,
        });
        Ok(())
    }
}

/// The kernel's name of the module in a file, whose name may have dashes: `a/b-c.ko.xz` is `b_c`.
fn name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    Some(file.split_once(".ko")?.0.replace('-', "_"))
}

fn list(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))? {
        let path = entry
            .with_context(|| format!("listing {}", dir.display()))?
            .path();
        if path.is_dir() {
            list(&path, files)?;
        } else if let Some(name) = path.to_str().and_then(name) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// The module's content, unpacked here because not every kernel can.
fn read(path: &Path) -> Result<Vec<u8>> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => fs::read(path).with_context(|| format!("reading {}", path.display())),
        Some("xz") => {
            let output = Command::new("xz")
                .args(["--decompress", "--stdout"])
                .arg(path)
                .output();
            let output = output.context("starting xz")?;
            ensure!(output.status.success(), "unpacking {}", path.display());
            Ok(output.stdout)
        }
        _ => bail!("{} is compressed in an unknown way", path.display()),
    }
}

/// The field `depends` of the module's information: strings `name=value`, each with a NUL on both
/// sides.
fn dependencies(module: &[u8]) -> Vec<String> {
    const FIELD: &[u8] = b"\0depends=";
    let Some(at) = module
        .windows(FIELD.len())
        .position(|window| window == FIELD)
    else {
        return Vec::new();
    };
    let value = module[at + FIELD.len()..]
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    let names = String::from_utf8_lossy(value);
    names
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_named_as_the_kernel_names_it() {
        assert_eq!(
            name("kernel/net/sched/cls-bpf.ko.xz").as_deref(),
            Some("cls_bpf")
        );
        assert_eq!(name("kernel/net/modules.order"), None);
    }

    #[test]
    fn dependencies_are_read_from_the_modules_own_information() {
        assert_eq!(
            dependencies(b"x\0depends=libcrc32c,udp-tunnel\0name=sctp\0"),
            ["libcrc32c", "udp_tunnel"]
        );
        assert!(dependencies(b"x\0depends=\0name=veth\0").is_empty());
        assert!(dependencies(b"nothing").is_empty());
    }
}
