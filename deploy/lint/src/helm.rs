//! helm, built from its public module, once for a machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{directory, objects, output};

/// Where the agent is installed.
pub const NAMESPACE: &str = "kube-system";

/// What it is made of, besides Go: its version stands in the first.
const SOURCES: [&str; 2] = ["go.mod", "go.sum"];
const PACKAGE: &str = "helm.sh/helm/v4/cmd/helm";
/// Where Go is when it is not on PATH.
const GO: &str = "/usr/local/go/bin/go";

/// helm, and the chart.
#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
    chart: PathBuf,
}

impl Helm {
    /// Builds helm if it is not there: some four minutes of two processors.
    ///
    /// # Errors
    /// There is no Go, or the build fails.
    pub fn new() -> Result<Self> {
        Ok(Self {
            program: program()?,
            chart: directory("helm"),
        })
    }

    /// What helm itself has to say of the chart; warnings count.
    ///
    /// # Errors
    /// The chart has faults.
    pub fn lint(&self) -> Result<()> {
        let mut helm = self.command("lint");
        output(helm.arg("--strict").arg(&self.chart)).map(drop)
    }

    /// The objects that it would put there, with these values, each written `name=JSON`.
    ///
    /// # Errors
    /// It does not render.
    pub fn render(&self, values: &[&str]) -> Result<Vec<Value>> {
        let mut helm = self.command("template");
        helm.arg("policy-agent").arg(&self.chart);
        helm.args(["--namespace", NAMESPACE]);
        for value in values {
            helm.args(["--set-json", value]);
        }
        objects(&mut helm)
    }

    fn command(&self, name: &str) -> Command {
        let mut helm = Command::new(&self.program);
        // Nothing of whoever calls it counts.
        helm.arg(name).env_remove("KUBECONFIG");
        helm
    }
}

fn program() -> Result<PathBuf> {
    let source = directory("lint/helm");
    let go = go()?;
    let version = output(Command::new(&go).arg("version").current_dir(&source))?;
    let mut key = Sha256::new();
    for name in SOURCES {
        key.update(fs::read(source.join(name)).with_context(|| format!("reading {name}"))?);
    }
    key.update(version.as_bytes());
    let key = key.finalize();
    let key: String = key
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let place = cache()?.join(format!("helm-{key}"));
    let program = place.join("helm");
    if program.is_file() {
        return Ok(program);
    }
    fs::create_dir_all(&place)?;
    eprintln!(
        "building helm, once for this machine, to {}",
        place.display()
    );
    let unfinished = place.join("unfinished");
    let packages = place.join("go-build");
    let mut build = Command::new("nice");
    build
        .arg(&go)
        .args(["build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w"])
        .arg("-o")
        .arg(&unfinished)
        .arg(PACKAGE)
        .current_dir(&source)
        .env("CGO_ENABLED", "0")
        .env("GOCACHE", &packages);
    let status = build.status().context("starting go build")?;
    ensure!(status.success(), "go build: {status}");
    fs::rename(&unfinished, &program)?;
    fs::remove_dir_all(&packages)?;
    Ok(program)
}

fn cache() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME") {
        Some(directory) => PathBuf::from(directory),
        None => PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(base.join("policy-agent"))
}

fn go() -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|directory| directory.join("go"));
    let mut all = on_path.chain([Path::new(GO).to_owned()]);
    all.find(|go| go.is_file())
        .context("helm is built with Go 1.26 or newer, which is not there")
}
