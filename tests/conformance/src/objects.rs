//! API objects: what names one, and the objects that stand for a case's pods.

use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use policy_core::model::ObjectName;
use serde_json::{Value, json};

use super::{
    case::{self, ContainerPort},
    cluster::Update,
};

/// Kinds that a case may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// v1.
    Namespace,
    /// v1.
    Pod,
    /// networking.k8s.io/v1.
    NetworkPolicy,
}

impl Kind {
    /// As objects write it.
    pub(crate) const fn api_version(self) -> &'static str {
        match self {
            Self::Namespace | Self::Pod => "v1",
            Self::NetworkPolicy => "networking.k8s.io/v1",
        }
    }
}

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Empty for a namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
}

impl Key {
    /// From what a case writes; without a namespace it is `default`.
    pub(crate) fn new(kind: &str, namespace: String, name: &str) -> Result<Self> {
        let kind = match kind {
            "Namespace" => Kind::Namespace,
            "Pod" => Kind::Pod,
            "NetworkPolicy" => Kind::NetworkPolicy,
            _ => bail!("not supported: {kind}"),
        };
        let namespace = match (kind, namespace.as_str()) {
            (Kind::Namespace, _) => String::new(),
            (_, "") => "default".to_owned(),
            _ => namespace,
        };
        Ok(Self {
            kind,
            namespace,
            name: name.to_owned(),
        })
    }

    /// The key of a whole object.
    pub(crate) fn of(object: &Value) -> Result<Self> {
        let kind = object["kind"].as_str().context("an object without kind")?;
        let name = object["metadata"]["name"].as_str();
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let name = name.with_context(|| format!("a {kind} without name"))?;
        Self::new(kind, namespace.to_owned(), name)
    }

    /// What its deletion means to the nodes.
    pub(crate) fn removed(&self) -> Update {
        let name = ObjectName::new(self.namespace.as_str(), self.name.as_str());
        match self.kind {
            Kind::Namespace => Update::NamespaceRemoved(self.name.clone()),
            Kind::Pod => Update::PodRemoved(name),
            Kind::NetworkPolicy => Update::PolicyRemoved(name),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            Kind::Namespace => write!(formatter, "Namespace {}", self.name),
            kind => write!(formatter, "{kind:?} {}/{}", self.namespace, self.name),
        }
    }
}

/// `status.podIPs`, and `status.podIP` from before there were several.
pub(crate) fn pod_ips(pod: &Value) -> Result<Vec<IpAddr>> {
    let listed = pod["status"]["podIPs"].as_array().into_iter().flatten();
    listed
        .map(|entry| &entry["ip"])
        .chain([&pod["status"]["podIP"]])
        .filter_map(Value::as_str)
        .map(|ip| ip.parse().with_context(|| format!("pod address {ip:?}")))
        .collect()
}

/// The pod that an API server would hold for one of a case's.
pub(crate) fn pod_object(pod: &case::Pod, ports: &[ContainerPort]) -> Value {
    let ips: Vec<Value> = pod.ips.iter().map(|ip| json!({"ip": ip})).collect();
    let mut status = json!({"phase": "Running", "podIPs": ips});
    if let Some(first) = pod.ips.first() {
        status["podIP"] = json!(first);
    }
    let mut spec = json!({"nodeName": pod.node, "containers": containers(ports)});
    if pod.host_network {
        spec["hostNetwork"] = json!(true);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": pod.namespace, "name": pod.name, "labels": pod.labels},
        "spec": spec,
        "status": status,
    })
}

/// An API server refuses a port name that repeats within one container, so a repeated name goes
/// to the next one.
fn containers(ports: &[ContainerPort]) -> Value {
    let mut containers: Vec<Vec<&ContainerPort>> = vec![Vec::new()];
    for port in ports {
        let free = containers.iter_mut().find(|container| {
            port.name.is_none() || container.iter().all(|other| other.name != port.name)
        });
        match free {
            Some(container) => container.push(port),
            None => containers.push(vec![port]),
        }
    }
    let objects = containers.iter().enumerate().map(|(number, ports)| {
        let ports = ports.iter().map(|port| {
            let mut object = json!({"containerPort": port.port, "protocol": port.protocol.name()});
            if let Some(name) = &port.name {
                object["name"] = json!(name);
            }
            object
        });
        json!({
            "name": format!("server-{number}"),
            "image": "example.invalid/server",
            "ports": ports.collect::<Vec<_>>(),
        })
    });
    objects.collect()
}
