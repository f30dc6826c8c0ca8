//! Services: checked, so that a broken one is reported; nothing depends on them yet.

use policy_core::model::ObjectName;
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

/// Reads a Service's name and checks its selector, ports and addresses.
pub(super) fn service(written: &Value, context: &mut Context) -> Option<ObjectName> {
    let meta = meta(written, Scope::Namespaced, name::dns_label, context)?;
    let at = Field::root().child("spec");
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
        let field = at.child("clusterIPs");
        let addresses = items(spec.get("clusterIPs"), &field, context);
        for (index, address) in addresses.into_iter().flatten().enumerate() {
            let at = field.index(index);
            let address = text(Some(address), &at, context).flatten();
            let is_none = |address: &&str| !matches!(*address, "None" | "");
            if let Some(address) = address.filter(is_none)
                && address.parse::<std::net::IpAddr>().is_err()
            {
                context.error(&at, InvalidService::Address(address.to_owned()));
            }
        }
    }
    Some(meta.name)
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
