//! Nodes: their addresses, which no pod sends tunnel packets to.

use std::net::IpAddr;

use policy_core::model::NodeFact;
use serde_json::Value;
use thiserror::Error;

use super::{
    decode::{items, object, text},
    field::{Context, Field},
    meta::{Scope, meta},
    name,
};

/// A part of a Node that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidNode {
    /// Not an address.
    #[error("{0:?} is not an IP address")]
    Address(String),
}

/// Reads a node's name and `status.addresses` of the types `InternalIP` and `ExternalIP`; names
/// of hosts say nothing of packets.
pub(super) fn node(written: &Value, context: &mut Context) -> Option<NodeFact> {
    let meta = meta(written, Scope::Cluster, name::dns_subdomain, context)?;
    let at = Field::root().child("status");
    let status = object(written.get("status"), &at, context).flatten();
    let at = at.child("addresses");
    let listed = status.and_then(|status| status.get("addresses"));
    let mut addresses: Vec<IpAddr> = Vec::new();
    for (index, entry) in items(listed, &at, context)
        .into_iter()
        .flatten()
        .enumerate()
    {
        let at = at.index(index);
        let Some(entry) = object(Some(entry), &at, context).flatten() else {
            continue;
        };
        let kind = text(entry.get("type"), &at.child("type"), context).flatten();
        let at = at.child("address");
        let address = text(entry.get("address"), &at, context).flatten();
        let Some(address) = address.filter(|_| matches!(kind, Some("InternalIP" | "ExternalIP")))
        else {
            continue;
        };
        match address.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => context.error(&at, InvalidNode::Address(address.to_owned())),
        }
    }
    Some(NodeFact {
        name: meta.name.name,
        addresses,
    })
}
