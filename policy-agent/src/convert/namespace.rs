//! Namespaces.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{NamespaceSpec, NamespaceStatus};
use policy_core::model::NamespaceFact;
use serde_json::Value;

use super::{
    decode::{decode_part, members},
    field::{Context, Field},
    meta::{Scope, meta},
    name,
};

/// Every namespace has this label, with its own name for a value.
pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Reads a namespace.
pub(super) fn namespace(object: &Value, context: &mut Context) -> Option<NamespaceFact> {
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    members(Some(object), &known, &Field::root(), context)?;
    let meta = meta(object, Scope::Cluster, name::dns_label, context)?;
    decode_part::<NamespaceSpec>(object, "spec", context);
    decode_part::<NamespaceStatus>(object, "status", context);
    let mut labels = meta.labels;
    labels.insert(NAME_LABEL.into(), Arc::clone(&meta.name.name));
    Some(NamespaceFact {
        name: meta.name.name,
        labels,
    })
}

/// The namespace that exists only because objects are said to live in it: its own name is its only
/// label.
pub fn implied_namespace(name: &Arc<str>) -> NamespaceFact {
    NamespaceFact {
        name: Arc::clone(name),
        labels: [(NAME_LABEL.into(), Arc::clone(name))].into(),
    }
}
