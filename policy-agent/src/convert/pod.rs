//! Pods. Sources: `ValidatePodCreate`, `validatePodIPs` and `validateContainerPorts` of Kubernetes;
//! what no policy depends on (images, volumes, fields newer than this build) is not looked at.
//!
//! Invariant: a pod that can be named is a fact; what cannot be read of it makes it smaller, or
//! [`PodFact::unreadable`], never absent.

use std::{collections::BTreeSet, net::IpAddr};

use jiff::Timestamp;
use policy_core::model::{ContainerPort, PodFact};
use serde_json::Value;
use thiserror::Error;

use super::{
    decode::{flag, integer, items, object, text},
    field::{Context, Field},
    meta::{Scope, meta},
    name,
    port::{number, protocol as parse_protocol},
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
}

/// Reads a pod; `None` when it cannot be named.
pub(super) fn pod(written: &Value, context: &mut Context) -> Option<PodFact> {
    let root = Field::root();
    let meta = meta(written, Scope::Namespaced, name::dns_subdomain, context)?;
    let at = root.child("spec");
    let spec = object(written.get("spec"), &at, context);
    let get = |name: &str| spec.flatten().and_then(|spec| spec.get(name));
    let host_network = flag(get("hostNetwork"), &at.child("hostNetwork"), context);
    let node = text(get("nodeName"), &at.child("nodeName"), context).flatten();
    let mut ports = BTreeSet::new();
    containers(
        get("containers"),
        &at.child("containers"),
        false,
        &mut ports,
        context,
    );
    containers(
        get("initContainers"),
        &at.child("initContainers"),
        true,
        &mut ports,
        context,
    );

    let at = root.child("status");
    let status = object(written.get("status"), &at, context);
    let get = |name: &str| status.flatten().and_then(|status| status.get(name));
    let addresses = addresses(get("podIPs"), get("podIP"), &at, context);
    // A phase that is none, or that came after this build, is one of a pod that runs.
    let phase = text(get("phase"), &at.child("phase"), context).flatten();
    let finished = matches!(phase, Some("Succeeded" | "Failed"));
    let started = get("startTime").and_then(|time| time.as_str()?.parse::<Timestamp>().ok());

    // However it is written.
    let deleted = written.pointer("/metadata/deletionTimestamp");

    let unreadable = spec.is_none() || host_network.is_none() || meta.labels.is_none();
    let host_network = host_network.unwrap_or(false);
    Some(PodFact {
        name: meta.name,
        uid: meta.uid,
        node: node.unwrap_or_default().into(),
        unreadable,
        labels: meta.labels.unwrap_or_default(),
        addresses: if host_network || finished {
            Vec::new()
        } else {
            addresses
        },
        ports: ports.into_iter().collect(),
        host_network,
        finished,
        running: phase == Some("Running"),
        terminating: deleted.is_some_and(|time| !time.is_null()),
        started: started.map_or(0, Timestamp::as_second),
    })
}

/// What is known of a pod that is refused: it has its interface, and is nobody.
pub(super) fn unreadable(written: &Value) -> Option<PodFact> {
    let fact = pod(written, &mut Context::lenient())?;
    Some(PodFact {
        unreadable: true,
        labels: Default::default(),
        ports: Vec::new(),
        ..fact
    })
}

/// `status.podIPs`, or `status.podIP` from before there were several. One that cannot be read is
/// not there.
fn addresses(
    listed: Option<&Value>,
    single: Option<&Value>,
    field: &Field,
    context: &mut Context,
) -> Vec<IpAddr> {
    let at = field.child("podIPs");
    let mut texts: Vec<(Field, &str)> = Vec::new();
    for (index, entry) in items(listed, &at, context)
        .into_iter()
        .flatten()
        .enumerate()
    {
        let at = at.index(index);
        let entry = object(Some(entry), &at, context).flatten();
        let at = at.child("ip");
        if let Some(Some(ip)) = entry.map(|entry| text(entry.get("ip"), &at, context)) {
            texts.extend(ip.map(|ip| (at, ip)));
        }
    }
    let at = field.child("podIP");
    let single = text(single, &at, context).flatten();
    if let Some(single) = single.filter(|text| !text.is_empty()) {
        match texts.first() {
            None => texts.push((at, single)),
            Some((_, first)) if *first != single => {
                context.error(&at, InvalidPod::NotFirst(single.to_owned()));
            }
            Some(_) => {}
        }
    }
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

/// Named ports of containers; of init containers, those that keep running.
fn containers(
    list: Option<&Value>,
    field: &Field,
    init: bool,
    ports: &mut BTreeSet<ContainerPort>,
    context: &mut Context,
) {
    for (index, container) in items(list, field, context)
        .into_iter()
        .flatten()
        .enumerate()
    {
        let field = field.index(index);
        let Some(Some(container)) = object(Some(container), &field, context) else {
            continue;
        };
        let mut names = BTreeSet::new();
        let at = field.child("ports");
        let declared = items(container.get("ports"), &at, context);
        let declared: Vec<ContainerPort> = declared
            .into_iter()
            .flatten()
            .enumerate()
            .filter_map(|(index, port)| container_port(port, &at.index(index), &mut names, context))
            .collect();
        // Other policies end with the container, whatever they are called.
        let keeps_running = !init || container.get("restartPolicy") == Some(&"Always".into());
        if keeps_running {
            ports.extend(declared);
        }
    }
}

fn container_port<'a>(
    port: &'a Value,
    field: &Field,
    names: &mut BTreeSet<&'a str>,
    context: &mut Context,
) -> Option<ContainerPort> {
    let port = object(Some(port), field, context)??;
    let at = field.child("containerPort");
    let given = integer(port.get("containerPort"), &at, context)?;
    let number =
        number(given.unwrap_or_default()).inspect_err(|error| context.error(&at, error.clone()));
    let at = field.child("protocol");
    let protocol = text(port.get("protocol"), &at, context)?;
    // Defaulted when empty.
    let protocol = parse_protocol(protocol.filter(|name| !name.is_empty()))
        .inspect_err(|error| context.error(&at, error.clone()));
    let at = field.child("name");
    let name = text(port.get("name"), &at, context)?.filter(|name| !name.is_empty())?;
    if let Err(error) = name::port_name(name) {
        context.error(&at, Problem::name(name, error));
    }
    if !names.insert(name) && context.is_strict() {
        context.error(&at, InvalidPod::PortNameTaken(name.to_owned()));
    }
    Some(ContainerPort {
        name: name.into(),
        protocol: protocol.ok()?,
        number: number.ok()?,
    })
}
