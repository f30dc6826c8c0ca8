//! System packages: what is needed, why, by which task, and how to see that it is there.
//!
//! Must not know what the tasks do with them.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use super::linker;
use crate::{command, root::Root};

/// What packages are needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Building bpf-linker, which links the eBPF object.
    BuildLinker,
    /// Programs that run in network namespaces: the demo, the suites, conformance, bench.
    Run,
    /// What the datapath is compared with, and how.
    Bench,
    /// The kernel matrix in virtual machines.
    TestVm,
    /// The agent as a static program.
    Image,
    /// A Kubernetes control plane.
    Cluster,
    /// Nodes of a cluster.
    Nodes,
}

/// How to see that a package is there, whatever the distribution calls it.
enum Sign {
    /// A program on PATH or in the system directories.
    Program(&'static str),
    /// A file.
    File(&'static str),
    /// A file below LLVM's prefix.
    Llvm(&'static str),
}

impl Sign {
    fn is_there(&self) -> bool {
        match self {
            Self::Program(name) => command::find(name).is_some(),
            Self::File(path) => Path::new(path).exists(),
            Self::Llvm(path) => linker::llvm_prefix().join(path).exists(),
        }
    }
}

/// One row of the table.
struct Package {
    /// Its name in Debian and its descendants.
    name: &'static str,
    sign: Sign,
    why: &'static str,
    needed_for: &'static [Need],
}

/// Everything that tasks need from the distribution, compilers apart (see `compiler`).
const PACKAGES: &[Package] = &[
    Package {
        name: "llvm-22-dev",
        sign: Sign::Llvm("bin/llvm-config"),
        why: "the code generator of bpf-linker",
        needed_for: &[Need::BuildLinker],
    },
    Package {
        name: "libpolly-22-dev",
        sign: Sign::Llvm("lib/libPolly.a"),
        why: "a library that llvm-22-dev's link line names",
        needed_for: &[Need::BuildLinker],
    },
    Package {
        name: "zlib1g-dev",
        sign: Sign::File("/usr/include/zlib.h"),
        why: "a library that llvm-22-dev's link line names",
        needed_for: &[Need::BuildLinker],
    },
    Package {
        name: "libzstd-dev",
        sign: Sign::File("/usr/include/zstd.h"),
        why: "a library that llvm-22-dev's link line names",
        needed_for: &[Need::BuildLinker],
    },
    Package {
        name: "iproute2",
        sign: Sign::Program("ip"),
        why: "makes the network namespaces and shows TC programs",
        needed_for: &[Need::Run, Need::Nodes],
    },
    Package {
        name: "nftables",
        sign: Sign::Program("nft"),
        why: "lets tests make a host track connections; loads rules with which bench compares, and kube-proxy's",
        needed_for: &[Need::Run, Need::Nodes],
    },
    Package {
        name: "bpftool",
        sign: Sign::Program("bpftool"),
        why: "shows the loaded programs, and the maps with named fields",
        needed_for: &[Need::Run],
    },
    Package {
        name: "iptables",
        sign: Sign::Program("iptables-restore"),
        why: "loads rules with which bench compares the datapath, and a kubelet's",
        needed_for: &[Need::Bench, Need::Nodes],
    },
    Package {
        name: "ipset",
        sign: Sign::Program("ipset"),
        why: "loads the address sets of those rules",
        needed_for: &[Need::Bench],
    },
    Package {
        name: "ethtool",
        sign: Sign::Program("ethtool"),
        why: "switches segmentation offload off and on",
        needed_for: &[Need::Bench],
    },
    Package {
        name: "xz-utils",
        sign: Sign::Program("xz"),
        why: "unpacks kernel modules",
        needed_for: &[Need::TestVm],
    },
    Package {
        name: "libc6-dev",
        sign: Sign::File("/usr/lib/x86_64-linux-gnu/libc.a"),
        why: "the C library that is linked into the agent",
        needed_for: &[Need::Image],
    },
    Package {
        name: "golang-go",
        sign: Sign::Program("go"),
        why: "builds etcd and Kubernetes, which want Go 1.26: newer than this one may be",
        needed_for: &[Need::Cluster],
    },
    Package {
        name: "openssl",
        sign: Sign::Program("openssl"),
        why: "makes the key with which kube-apiserver signs",
        needed_for: &[Need::Cluster],
    },
];

/// Installs what `needs` lack; does nothing, quickly, when nothing is missing.
pub(super) fn ensure(needs: &[Need]) -> Result<()> {
    let wanted = |package: &&Package| package.needed_for.iter().any(|need| needs.contains(need));
    let missing: Vec<&Package> = PACKAGES
        .iter()
        .filter(wanted)
        .filter(|package| !package.sign.is_there())
        .collect();
    for package in &missing {
        eprintln!("missing: {} ({})", package.name, package.why);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    install(&names)
}

/// Installs Debian packages by name; nothing to do for none.
///
/// # Errors
/// On other distributions, and without root or sudo: the message names the packages.
pub(super) fn install(names: &[&str]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let list = names.join(" ");
    if command::find("apt-get").is_none() {
        bail!(
            "only apt-get is known here; install what your distribution calls these Debian packages, then run this \
             task again: {list}"
        );
    }
    let root = Root::acquire(&format!("run `apt-get install {list}`"))?;
    if let Err(error) = command::run(apt_get(root).arg("update")) {
        // One source of many may be out of order; whether that matters shows below.
        eprintln!("{error:#}");
    }
    command::run(
        apt_get(root)
            .args(["install", "--yes", "--no-install-recommends"])
            .args(names),
    )
}

fn apt_get(root: Root) -> Command {
    let mut apt = root.command("env");
    apt.args([
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "--quiet",
        "-o",
        "DPkg::Lock::Timeout=120",
    ]);
    apt
}
