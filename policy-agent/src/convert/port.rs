//! Port entries of a rule. Source: `ValidateNetworkPolicyPort` of Kubernetes.

use k8s_openapi::{
    api::networking::v1::NetworkPolicyPort, apimachinery::pkg::util::intstr::IntOrString,
};
use policy_core::model::{PortMatch, Protocol};
use serde_json::Value;
use thiserror::Error;

use super::{
    decode::decode,
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
    Number(i32),
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
        let port: NetworkPolicyPort = decode(value, field, context)?;
        let protocol = match protocol(port.protocol.as_deref()) {
            Ok(protocol) => Some(protocol),
            Err(error) => {
                context.error(&field.child("protocol"), error);
                None
            }
        };
        let end_field = field.child("endPort");
        let end = port.end_port.and_then(|end| {
            number(end)
                .inspect_err(|error| context.error(&end_field, error.clone()))
                .ok()
        });
        match port.port {
            None => {
                if port.end_port.is_some() {
                    context.error(&end_field, InvalidPort::EndAlone);
                }
                Some(PortMatch::AnyPort(protocol?))
            }
            Some(IntOrString::String(name)) => {
                if port.end_port.is_some() {
                    context.error(&end_field, InvalidPort::EndOfName);
                }
                if let Err(error) = name::port_name(&name) {
                    context.error(&field.child("port"), Problem::name(&name, error));
                }
                Some(PortMatch::Named(protocol?, name.into()))
            }
            Some(IntOrString::Int(first)) => {
                let first = number(first)
                    .inspect_err(|error| context.error(&field.child("port"), error.clone()))
                    .ok()?;
                let end = end.unwrap_or(first);
                if end < first {
                    context.error(&end_field, InvalidPort::EndBeforePort { port: first, end });
                }
                Some(PortMatch::Range(protocol?, first, end))
            }
        }
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
pub(super) fn number(number: i32) -> Result<u16, InvalidPort> {
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(InvalidPort::Number(number)),
    }
}
