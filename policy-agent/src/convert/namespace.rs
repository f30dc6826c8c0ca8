//! Namespaces.

use std::sync::Arc;

use policy_core::model::NamespaceFact;
use serde_json::Value;

use super::{
    field::Context,
    meta::{Scope, meta},
    name,
};

/// Every namespace has this label, with its own name for a value.
pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Reads a namespace. One whose labels cannot be read is matched by its name alone.
pub(super) fn namespace(object: &Value, context: &mut Context) -> Option<NamespaceFact> {
    let meta = meta(object, Scope::Cluster, name::dns_label, context)?;
    let mut labels = meta.labels.unwrap_or_default();
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
