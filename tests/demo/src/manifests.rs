//! The manifests of `deploy/examples` in a directory of their own, and the changes made to them.
//!
//! Invariant: the agent, the namespaces and this program read the same files.

use std::{fs, net::IpAddr, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use crate::paint::Paint;

const NAMESPACES: &str = include_str!("../../../deploy/examples/namespaces.yaml");
const PODS: &str = include_str!("../../../deploy/examples/pods.yaml");
const POLICY: &str = include_str!("../../../deploy/examples/allow-frontend.yaml");

/// A directory that the agent follows.
#[derive(Debug)]
pub(crate) struct Manifests(TempDir);

/// Lines of one file that others take the place of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edit {
    /// The file.
    pub(crate) file: &'static str,
    before: &'static str,
    after: &'static str,
}

/// The namespace `guest` gets the label that the policy asks for.
pub(crate) const GUEST_JOINS: Edit = Edit {
    file: "namespaces.yaml",
    before: "    project: elsewhere\n",
    after: "    project: myproject\n",
};

/// The machine outside loses its permission.
pub(crate) const BLOCK_REMOVED: Edit = Edit {
    file: "allow-frontend.yaml",
    before: "    - ipBlock:\n        cidr: 192.168.5.10/32\n",
    after: "",
};

impl Manifests {
    /// Namespaces and pods, no policy yet.
    pub(crate) fn new() -> Result<Self> {
        let directory = TempDir::with_prefix("policy-demo-");
        let manifests = Self(directory.context("making a directory for the manifests")?);
        manifests.write("namespaces.yaml", NAMESPACES)?;
        manifests.write("pods.yaml", PODS)?;
        Ok(manifests)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Puts the policy there.
    pub(crate) fn add_policy(&self) -> Result<()> {
        self.write("allow-frontend.yaml", POLICY)
    }

    /// Changes a file.
    pub(crate) fn apply(&self, edit: Edit) -> Result<()> {
        let path = self.path().join(edit.file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        ensure!(
            text.matches(edit.before).count() == 1,
            "{} does not have the lines that are to change once",
            edit.file
        );
        self.write(edit.file, &text.replace(edit.before, edit.after))
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.path().join(file);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }
}

impl Edit {
    /// The lines as a diff.
    pub(crate) fn shown(self, paint: Paint) -> String {
        let removed = self
            .before
            .lines()
            .map(|line| paint.bad(&format!("  -{line}")));
        let added = self
            .after
            .lines()
            .map(|line| paint.good(&format!("  +{line}")));
        removed.chain(added).collect::<Vec<_>>().join("\n")
    }
}

/// The policy without its comments.
pub(crate) fn policy() -> String {
    let lines = POLICY
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    lines
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// As much of a Pod as its namespaces need.
#[derive(Debug, Deserialize)]
pub(crate) struct Pod {
    pub(crate) metadata: Metadata,
    pub(crate) status: Status,
}

/// Its name.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Where it is.
#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    #[serde(rename = "podIPs")]
    pub(crate) pod_ips: Vec<PodIp>,
}

/// One address.
#[derive(Debug, Deserialize)]
pub(crate) struct PodIp {
    pub(crate) ip: IpAddr,
}

/// The pods of the manifests.
pub(crate) fn pods() -> Result<Vec<Pod>> {
    serde_yaml_ng::Deserializer::from_str(PODS)
        .map(Pod::deserialize)
        .collect::<Result<_, _>>()
        .context("reading pods.yaml")
}
