//! Services: checked, so that a broken one is reported; nothing depends on them yet.

use k8s_openapi::api::core::v1::{ServiceSpec, ServiceStatus};
use policy_core::model::ObjectName;
use serde_json::Value;
use thiserror::Error;

use super::{
    decode::{decode_part, members},
    field::{Context, Field},
    meta::{Scope, check_labels, meta},
    name,
    port::{number, protocol},
};

/// A part of a Service that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidService {
    /// Not an address.
    #[error("{0:?} is not an IP address")]
    Address(String),
}

/// Reads a Service's name and checks its selector and ports.
pub(super) fn service(object: &Value, context: &mut Context) -> Option<ObjectName> {
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    members(Some(object), &known, &Field::root(), context)?;
    let meta = meta(object, Scope::Namespaced, name::dns_label_1035, context)?;
    decode_part::<ServiceStatus>(object, "status", context);
    if let Some(spec) = decode_part::<ServiceSpec>(object, "spec", context)
        && context.is_strict()
    {
        let at = Field::root().child("spec");
        check_labels(
            &spec.selector.unwrap_or_default(),
            &at.child("selector"),
            context,
        );
        for (index, port) in spec.ports.iter().flatten().enumerate() {
            let at = at.child("ports").index(index);
            if let Err(error) = number(port.port) {
                context.error(&at.child("port"), error);
            }
            if let Err(error) = protocol(port.protocol.as_deref()) {
                context.error(&at.child("protocol"), error);
            }
        }
        for (index, address) in spec.cluster_ips.iter().flatten().enumerate() {
            if !matches!(address.as_str(), "None" | "")
                && address.parse::<std::net::IpAddr>().is_err()
            {
                let at = at.child("clusterIPs").index(index);
                context.error(&at, InvalidService::Address(address.clone()));
            }
        }
    }
    Some(meta.name)
}
