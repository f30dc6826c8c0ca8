//! Port entries of a rule. Source: `ValidateNetworkPolicyPort` of Kubernetes.

use policy_core::model::{PortMatch, Protocol};
use serde_json::Value;
use thiserror::Error;

use super::{
    decode::{integer, members, text},
    field::{Context, Field},
    name,
    problem::Problem,
};

/// A port entry that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidPort {
    /// A protocol that ports cannot have.
    #[error("{0:?} is not a protocol of ports (TCP, UDP, SCTP)")]
    Protocol(String),
    /// Not a port number.
    #[error("{0} is not between 1 and 65535")]
    Number(i64),
    /// A range that ends before it begins.
    #[error("{end} is less than port {port}")]
    EndBeforePort {
        /// The first port.
        port: u16,
        /// The last port.
        end: u16,
    },
    /// A range that begins at a name.
    #[error("must be absent when port is a name")]
    EndOfName,
    /// A range without beginning.
    #[error("must be absent when port is absent")]
    EndAlone,
}

/// Reads one entry of `ports`; `None` when it means nothing.
pub(super) fn port(value: &Value, field: &Field, context: &mut Context) -> Option<PortMatch> {
    context.whole(|context| {
        let known = ["protocol", "port", "endPort"];
        if value.is_null() {
            context.error(field, Problem::not_a(value, "an object"));
            return None;
        }
        let entry = members(Some(value), &known, field, context)?;
        let get = |name: &str| entry.and_then(|entry| entry.get(name));
        let protocol_field = field.child("protocol");
        let protocol = text(get("protocol"), &protocol_field, context)?;
        let protocol = self::protocol(protocol)
            .inspect_err(|error| context.error(&protocol_field, error.clone()))
            .ok();
        let end_field = field.child("endPort");
        let end = integer(get("endPort"), &end_field, context)?;
        let port_field = field.child("port");
        let first = match get("port").filter(|port| !port.is_null()) {
            None => {
                if end.is_some() {
                    context.error(&end_field, InvalidPort::EndAlone);
                }
                return Some(PortMatch::AnyPort(protocol?));
            }
            Some(Value::String(name)) => {
                if end.is_some() {
                    context.error(&end_field, InvalidPort::EndOfName);
                }
                if let Err(error) = name::port_name(name) {
                    context.error(&port_field, Problem::name(name, error));
                }
                return Some(PortMatch::Named(protocol?, name.as_str().into()));
            }
            first => integer(first, &port_field, context)??,
        };
        let first = number(first)
            .inspect_err(|error| context.error(&port_field, error.clone()))
            .ok();
        let end = end.map(|end| {
            number(end)
                .inspect_err(|error| context.error(&end_field, error.clone()))
                .ok()
        });
        let first = first?;
        let end = end.unwrap_or(Some(first))?;
        if end < first {
            context.error(&end_field, InvalidPort::EndBeforePort { port: first, end });
        }
        Some(PortMatch::Range(protocol?, first, end))
    })
}

/// A protocol by its API name; absent is TCP.
pub(super) fn protocol(name: Option<&str>) -> Result<Protocol, InvalidPort> {
    match name {
        None | Some("TCP") => Ok(Protocol::Tcp),
        Some("UDP") => Ok(Protocol::Udp),
        Some("SCTP") => Ok(Protocol::Sctp),
        Some(other) => Err(InvalidPort::Protocol(other.to_owned())),
    }
}

/// A port number, 1 to 65535.
pub(super) fn number(number: i64) -> Result<u16, InvalidPort> {
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(InvalidPort::Number(number)),
    }
}
