//! Building the programs of a cluster once: each is kept outside the clone, by a key of everything that
//! it is made of.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

/// What says of which modules they are made.
const MODULES: [&str; 2] = ["go.mod", "go.sum"];
/// What every package is compiled with. A change of one compiles all of them again.
const FLAGS: &str = "-buildvcs=false -trimpath";
/// Where Go is when it is not on PATH.
const GO: &str = "/usr/local/go/bin/go";

/// Where what takes long to make is kept.
///
/// # Errors
/// Nobody says where the home directory is.
pub fn cache() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME") {
        Some(directory) => PathBuf::from(directory),
        None => PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(base.join("policy-agent"))
}

/// etcd and all of Kubernetes, built if it is not there: some 15 minutes of two processors, 4 GB of disk,
/// 3.3 GB of memory at the end.
///
/// # Errors
/// There is no Go, or the build fails.
pub fn kube() -> Result<PathBuf> {
    built("kube", &["main.go"], &["build"], ".")
}

/// What upstream's tests run in their pods: a server and a client of many kinds. Little is left to compile
/// for it after [`kube`].
///
/// # Errors
/// There is no Go, or the build fails.
pub fn agnhost() -> Result<PathBuf> {
    built(
        "agnhost",
        &[],
        &["build"],
        "k8s.io/kubernetes/test/images/agnhost",
    )
}

/// Upstream's tests of the network: some four minutes of two processors after [`kube`].
///
/// # Errors
/// There is no Go, or the build fails.
pub(crate) fn e2e() -> Result<PathBuf> {
    built("e2e", &["e2e/e2e_test.go"], &["test", "-c"], "./e2e")
}

/// A program of the module: made of some files beside the module's lists, by a command, from a package.
fn built(name: &str, files: &[&str], command: &[&str], package: &str) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("kube");
    let go = go()?;
    let mut version = Command::new(&go);
    let version = read(version.arg("version").current_dir(&source))?;
    let mut key = Sha256::new();
    for name in MODULES.iter().chain(files) {
        key.update(fs::read(source.join(name)).with_context(|| format!("reading {name}"))?);
    }
    key.update(version.as_bytes());
    key.update(FLAGS.as_bytes());
    let key: String = key
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let directory = cache()?.join(format!("{name}-{key}"));
    let program = directory.join(name);
    if program.is_file() {
        return Ok(program);
    }
    fs::create_dir_all(&directory)?;
    eprintln!(
        "building {name}, once for this machine, to {}",
        directory.display()
    );
    let unfinished = directory.join("unfinished");
    let mut build = Command::new("nice");
    build
        .arg(&go)
        .args(command)
        .args(["-ldflags", &link_flags(&source)?, "-o"])
        .arg(&unfinished)
        .arg(package)
        .current_dir(&source)
        .env("GOFLAGS", FLAGS)
        .env("CGO_ENABLED", "0")
        // Apart, so that it can go: nobody else has a use for these packages.
        .env("GOCACHE", cache()?.join("go-build"));
    let status = build.status().context("starting go build")?;
    ensure!(status.success(), "go build: {status}");
    fs::rename(&unfinished, &program)?;
    Ok(program)
}

/// The programs say which release they are, as those of the release do.
fn link_flags(source: &Path) -> Result<String> {
    let modules = fs::read_to_string(source.join("go.mod"))?;
    let version = modules
        .lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "))
        .context("go.mod does not name Kubernetes")?;
    let minor = version.split('.').nth(1).unwrap_or_default();
    let mut flags = "-s -w".to_owned();
    for package in [
        "k8s.io/component-base/version",
        "k8s.io/client-go/pkg/version",
    ] {
        for (name, value) in [
            ("gitVersion", version),
            ("gitMajor", "1"),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
            ("buildDate", "2026-01-01T00:00:00Z"),
        ] {
            flags.push_str(&format!(" -X {package}.{name}={value}"));
        }
    }
    Ok(flags)
}

fn go() -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|directory| directory.join("go"));
    match on_path.chain([PathBuf::from(GO)]).find(|go| go.is_file()) {
        Some(go) => Ok(go),
        None => bail!("the cluster is built with Go 1.26 or newer, which is not there"),
    }
}

fn read(command: &mut Command) -> Result<String> {
    let output = command.output().context("starting go")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "go: {}", errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
