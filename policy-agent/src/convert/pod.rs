//! Pods. Sources: `ValidatePodCreate`, `validatePodIPs` and `validateContainerPorts` of Kubernetes;
//! what no policy depends on (images, volumes) is not validated.

use std::{collections::BTreeSet, net::IpAddr};

use k8s_openapi::api::core::v1::{Container, PodSpec, PodStatus};
use policy_core::model::{ContainerPort, PodFact};
use serde_json::Value;
use thiserror::Error;

use super::{
    decode::{decode_part, members},
    field::{Context, Field},
    meta::{Scope, meta},
    name,
    object::PodObject,
    port::{number, protocol},
    problem::Problem,
};

/// A part of a pod that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidPod {
    /// Not an address.
    #[error("{0:?} is not an IP address")]
    Address(String),
    /// An IPv4 address written as IPv6.
    #[error("{0} is an IPv4-mapped IPv6 address; write it as IPv4")]
    Mapped(IpAddr),
    /// Two addresses of one family.
    #[error("{0} is the second address of its family; a pod has at most one of each")]
    SecondOfFamily(IpAddr),
    /// `podIP` disagrees with `podIPs`.
    #[error("{0:?} is not the first of podIPs")]
    NotFirst(String),
    /// Two ports of one container with one name.
    #[error("{0:?} names another port of this container")]
    PortNameTaken(String),
    /// A phase that the API does not have.
    #[error("{0:?} is not a phase (Pending, Running, Succeeded, Failed, Unknown)")]
    Phase(String),
    /// A restart policy that an init container cannot have.
    #[error("{0:?} is not the restart policy of an init container (Always, or absent)")]
    RestartPolicy(String),
}

/// Reads a pod.
pub(super) fn pod(object: &Value, context: &mut Context) -> Option<PodObject> {
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    members(Some(object), &known, &Field::root(), context)?;
    let meta = meta(object, Scope::Namespaced, name::dns_subdomain, context)?;
    let spec: Option<PodSpec> = decode_part(object, "spec", context);
    let status: Option<PodStatus> = decode_part(object, "status", context);
    let unreadable = |name, part: bool| !part && object.get(name).is_some_and(|v| !v.is_null());
    if unreadable("spec", spec.is_some()) || unreadable("status", status.is_some()) {
        return None;
    }
    let (spec, status) = (spec.unwrap_or_default(), status.unwrap_or_default());

    let ports = ports(&spec, context);
    let addresses = addresses(&status, context);
    let phase = status.phase.as_deref().unwrap_or_default();
    if !matches!(
        phase,
        "" | "Pending" | "Running" | "Succeeded" | "Failed" | "Unknown"
    ) {
        let at = Field::root().child("status").child("phase");
        context.error(&at, InvalidPod::Phase(phase.to_owned()));
    }
    let host_network = spec.host_network == Some(true);
    let finished = matches!(phase, "Succeeded" | "Failed");
    Some(PodObject {
        fact: PodFact {
            name: meta.name,
            uid: meta.uid,
            labels: meta.labels,
            addresses: if host_network || finished {
                Vec::new()
            } else {
                addresses
            },
            ports,
            host_network,
            finished,
            running: phase == "Running",
            started: status.start_time.map_or(0, |time| time.0.as_second()),
        },
        node_name: spec
            .node_name
            .filter(|name| !name.is_empty())
            .map(Into::into),
    })
}

/// `status.podIPs`, or `status.podIP` from before there were several.
fn addresses(status: &PodStatus, context: &mut Context) -> Vec<IpAddr> {
    let at = Field::root().child("status");
    let listed: Vec<&str> = status
        .pod_ips
        .iter()
        .flatten()
        .map(|pod| pod.ip.as_str())
        .collect();
    let single = status.pod_ip.as_deref().filter(|text| !text.is_empty());
    if let (Some(single), Some(first)) = (single, listed.first())
        && single != *first
    {
        let error = InvalidPod::NotFirst(single.to_owned());
        context.error(&at.child("podIP"), error);
    }
    let texts: Vec<(Field, &str)> = if listed.is_empty() {
        single
            .map(|text| (at.child("podIP"), text))
            .into_iter()
            .collect()
    } else {
        let at = at.child("podIPs");
        let named = |(index, text)| (at.index(index).child("ip"), text);
        listed.into_iter().enumerate().map(named).collect()
    };
    let mut addresses: Vec<IpAddr> = Vec::new();
    for (field, text) in texts {
        match address(text, &addresses) {
            Ok(address) => addresses.push(address),
            Err(error) => context.error(&field, error),
        }
    }
    addresses
}

fn address(text: &str, others: &[IpAddr]) -> Result<IpAddr, InvalidPod> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| InvalidPod::Address(text.to_owned()))?;
    if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        return Err(InvalidPod::Mapped(address));
    }
    if others
        .iter()
        .any(|other| other.is_ipv4() == address.is_ipv4())
    {
        return Err(InvalidPod::SecondOfFamily(address));
    }
    Ok(address)
}

/// Named ports of containers and of init containers that keep running.
fn ports(spec: &PodSpec, context: &mut Context) -> Vec<ContainerPort> {
    let at = Field::root().child("spec");
    let mut ports = BTreeSet::new();
    for (index, container) in spec.containers.iter().enumerate() {
        let field = at.child("containers").index(index);
        ports.extend(container_ports(container, &field, context));
    }
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        let field = at.child("initContainers").index(index);
        let declared = container_ports(container, &field, context);
        match container.restart_policy.as_deref() {
            Some("Always") => ports.extend(declared),
            None => {}
            Some(other) => {
                let error = InvalidPod::RestartPolicy(other.to_owned());
                context.error(&field.child("restartPolicy"), error);
            }
        }
    }
    ports.into_iter().collect()
}

fn container_ports(
    container: &Container,
    field: &Field,
    context: &mut Context,
) -> Vec<ContainerPort> {
    let mut names = BTreeSet::new();
    let mut ports = Vec::new();
    for (index, port) in container.ports.iter().flatten().enumerate() {
        let at = field.child("ports").index(index);
        let number = number(port.container_port)
            .inspect_err(|error| context.error(&at.child("containerPort"), error.clone()));
        let protocol = protocol(port.protocol.as_deref())
            .inspect_err(|error| context.error(&at.child("protocol"), error.clone()));
        let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) else {
            continue;
        };
        if let Err(error) = name::port_name(name) {
            context.error(&at.child("name"), Problem::name(name, error));
        }
        if !names.insert(name) && context.is_strict() {
            let error = InvalidPod::PortNameTaken(name.to_owned());
            context.error(&at.child("name"), error);
        }
        if let (Ok(number), Ok(protocol)) = (number, protocol) {
            ports.push(ContainerPort {
                name: name.into(),
                protocol,
                number,
            });
        }
    }
    ports
}
