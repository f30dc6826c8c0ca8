//! The format `netpol-case/v1`: one YAML document per file, read strictly.
//!
//! Owns the shape of a file and nothing of its meaning. Invariant: no field of a case is silently
//! ignored – an unknown one is an error, except in `source`, which is informational.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::step::Step;

/// The only schema there is.
const SCHEMA: &str = "netpol-case/v1";

/// One file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    schema: String,
    /// The path without `.yaml`.
    pub id: String,
    /// For people.
    #[serde(rename = "title")]
    _title: String,
    /// Where the expectations come from: informational.
    #[serde(rename = "source")]
    _source: serde_yaml_ng::Value,
    /// Free words, for filtering.
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    /// Capabilities that an enforcer needs for the case.
    #[serde(default)]
    pub(crate) requires: Vec<String>,
    /// The state before the first step.
    pub(crate) cluster: Cluster,
    /// In order; state carries over.
    pub(crate) steps: Vec<Step>,
}

/// The state before the first step.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Cluster {
    /// Nodes, by name.
    #[serde(default)]
    pub(crate) nodes: Vec<Node>,
    /// Namespaces.
    #[serde(default)]
    pub(crate) namespaces: Vec<Namespace>,
    /// What pods that say nothing declare.
    #[serde(default)]
    pub(crate) defaults: Defaults,
    /// Pods.
    #[serde(default)]
    pub(crate) pods: Vec<Pod>,
    /// No verdict depends on Services; their shape is checked all the same.
    #[serde(default, rename = "services")]
    _services: Vec<ServiceObject>,
    /// Domain names to addresses, for `domainNames` peers of ClusterNetworkPolicies.
    #[serde(default, rename = "dns")]
    _dns: BTreeMap<String, Vec<IpAddr>>,
}

/// One node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Node {
    /// The name.
    pub(crate) name: String,
    /// No NetworkPolicy selects nodes.
    #[serde(default, rename = "labels")]
    _labels: BTreeMap<String, String>,
    /// At most one per family.
    #[serde(default)]
    pub(crate) ips: Vec<IpAddr>,
}

/// One namespace.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Namespace {
    /// The name.
    pub(crate) name: String,
    /// The labels.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
}

/// What pods that say nothing declare.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Defaults {
    /// Ports of every pod that has no `containerPorts` of its own.
    #[serde(default)]
    pub(crate) container_ports: Vec<ContainerPort>,
}

/// One pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Pod {
    /// The namespace.
    pub(crate) namespace: String,
    /// The name.
    pub(crate) name: String,
    /// The labels.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// The node that hosts it.
    pub(crate) node: String,
    /// Its addresses; a host-network pod's are its node's.
    #[serde(default)]
    pub(crate) ips: Vec<IpAddr>,
    /// The ports it declares; `None`: those of `defaults`.
    pub(crate) container_ports: Option<Vec<ContainerPort>>,
    /// The pod has no network of its own.
    #[serde(default)]
    pub(crate) host_network: bool,
}

/// A port that a pod declares.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContainerPort {
    /// The name that policies may use.
    pub(crate) name: Option<String>,
    /// The number.
    pub(crate) port: u16,
    /// The protocol.
    pub(crate) protocol: Protocol,
}

/// A protocol that ports have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) enum Protocol {
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
    /// SCTP.
    #[serde(rename = "SCTP")]
    Sctp,
}

impl Protocol {
    /// As Kubernetes writes it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }

    /// The IANA number.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "read only to refuse what the format does not have"
)]
struct ServiceObject {
    namespace: String,
    name: String,
    #[serde(default)]
    selector: BTreeMap<String, String>,
    #[serde(default, rename = "clusterIPs")]
    cluster_ips: Vec<IpAddr>,
    #[serde(default)]
    ports: Vec<ServicePort>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "read only to refuse what the format does not have"
)]
struct ServicePort {
    name: Option<String>,
    port: u16,
    target_port: Option<serde_yaml_ng::Value>,
    protocol: Option<Protocol>,
}

impl Case {
    /// Reads one file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// Reads one document.
    pub fn parse(text: &str) -> Result<Self> {
        // By way of a value: mappings refuse repeated keys, which JSON objects inside would not.
        let value: serde_yaml_ng::Value = serde_yaml_ng::from_str(text)?;
        let case: Self = serde_yaml_ng::from_value(value)?;
        case.check()?;
        Ok(case)
    }

    fn check(&self) -> Result<()> {
        ensure!(
            self.schema == SCHEMA,
            "schema {:?} is not {SCHEMA:?}",
            self.schema
        );
        for step in &self.steps {
            step.check()
                .with_context(|| format!("step {:?}", step.name))?;
        }
        Ok(())
    }
}

/// All case files under the directories (and single files), in order of their paths.
pub fn find(roots: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for root in roots {
        collect(root, &mut files).with_context(|| root.display().to_string())?;
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !std::fs::metadata(path)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        let is_case = path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_case || path.is_dir() {
            collect(&path, files)?;
        }
    }
    Ok(())
}
