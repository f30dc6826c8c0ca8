//! Services: the addresses by which they are called. What stands behind them is the proxy's to say.

use std::net::IpAddr;

use policy_core::model::ServiceFact;
use serde_json::Value;
use thiserror::Error;

use super::{
    decode::{integer, items, object, text, texts},
    field::{Context, Field},
    meta::{Scope, check_labels, meta},
    name,
    port::{number, protocol},
    problem::Problem,
};

/// A part of a Service that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidService {
    /// Not an address.
    #[error("{0:?} is not an IP address")]
    Address(String),
}

/// Reads a Service's name and addresses, and checks its selector and ports.
pub(super) fn service(written: &Value, context: &mut Context) -> Option<ServiceFact> {
    let meta = meta(written, Scope::Namespaced, name::dns_label, context)?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    let at = Field::root().child("spec");
    if let Some(Some(spec)) = object(written.get("spec"), &at, context) {
        let field = at.child("clusterIP");
        let first = text(spec.get("clusterIP"), &field, context).flatten();
        addresses.extend(first.and_then(|first| address(first, &field, context)));
        for name in ["clusterIPs", "externalIPs"] {
            let field = at.child(name);
            let listed = items(spec.get(name), &field, context);
            for (index, listed) in listed.into_iter().flatten().enumerate() {
                let field = field.index(index);
                let listed = text(Some(listed), &field, context).flatten();
                addresses.extend(listed.and_then(|listed| address(listed, &field, context)));
            }
        }
    }
    addresses.extend(balanced(written, context));
    if context.is_strict()
        && let Some(Some(spec)) = object(written.get("spec"), &at, context)
    {
        let field = at.child("selector");
        let selector = texts(spec.get("selector"), &field, context);
        check_labels(&selector.unwrap_or_default(), &field, context);
        let field = at.child("ports");
        let ports = items(spec.get("ports"), &field, context);
        for (index, written) in ports.into_iter().flatten().enumerate() {
            check_port(written, &field.index(index), context);
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    Some(ServiceFact {
        name: meta.name,
        addresses,
    })
}

/// The addresses of its load balancers that the proxies of nodes translate.
fn balanced(written: &Value, context: &mut Context) -> Vec<IpAddr> {
    let at = Field::root().child("status");
    let status = object(written.get("status"), &at, context).flatten();
    let at = at.child("loadBalancer");
    let balancer = status.and_then(|status| status.get("loadBalancer"));
    let balancer = object(balancer, &at, context).flatten();
    let at = at.child("ingress");
    let listed = items(balancer.and_then(|one| one.get("ingress")), &at, context);
    let mut addresses = Vec::new();
    for (index, entry) in listed.into_iter().flatten().enumerate() {
        let at = at.index(index);
        let Some(entry) = object(Some(entry), &at, context).flatten() else {
            continue;
        };
        let mode = text(entry.get("ipMode"), &at.child("ipMode"), context).flatten();
        let at = at.child("ip");
        let ip = text(entry.get("ip"), &at, context).flatten();
        if mode != Some("Proxy") {
            addresses.extend(ip.and_then(|ip| address(ip, &at, context)));
        }
    }
    addresses
}

/// `None` of a Service without one.
fn address(written: &str, at: &Field, context: &mut Context) -> Option<IpAddr> {
    if matches!(written, "None" | "") {
        return None;
    }
    let address = written.parse();
    if address.is_err() {
        context.error(at, InvalidService::Address(written.to_owned()));
    }
    address.ok()
}

fn check_port(written: &Value, field: &Field, context: &mut Context) {
    let Some(Some(port)) = object(Some(written), field, context) else {
        return;
    };
    let at = field.child("port");
    if let Some(given) = integer(port.get("port"), &at, context)
        && let Err(error) = number(given.unwrap_or_default())
    {
        context.error(&at, error);
    }
    let at = field.child("protocol");
    if let Some(given) = text(port.get("protocol"), &at, context)
        && let Err(error) = protocol(given.filter(|name| !name.is_empty()))
    {
        context.error(&at, error);
    }
    let at = field.child("targetPort");
    match port.get("targetPort") {
        Some(Value::String(target)) => {
            if let Err(error) = name::port_name(target) {
                context.error(&at, Problem::name(target, error));
            }
        }
        target => {
            if let Some(Some(target)) = integer(target, &at, context)
                && let Err(error) = number(target)
            {
                context.error(&at, error);
            }
        }
    }
}
