//! Names and labels of any object. Source: `ValidateObjectMeta` of Kubernetes.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use policy_core::model::{Labels, ObjectName};
use serde_json::Value;

use super::{
    decode::decode_tolerant,
    field::{Context, Field},
    name::{self, InvalidName},
    problem::Problem,
};

/// Whether objects of a kind live in namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Cluster,
    Namespaced,
}

/// What facts need of an object's metadata.
pub(super) struct Meta {
    /// The namespace is empty for objects of cluster scope, and `default` when absent otherwise.
    pub(super) name: ObjectName,
    pub(super) uid: Arc<str>,
    pub(super) labels: Labels,
}

/// Reads `metadata`; `None` when the object cannot be named.
pub(super) fn meta(
    object: &Value,
    scope: Scope,
    valid_name: fn(&str) -> Result<(), InvalidName>,
    context: &mut Context,
) -> Option<Meta> {
    let field = Field::root().child("metadata");
    let value = object.get("metadata").filter(|value| !value.is_null());
    let meta: ObjectMeta = match value {
        Some(value) => decode_tolerant(value, &field, context)?,
        None => ObjectMeta::default(),
    };
    let Some(own) = meta.name.filter(|name| !name.is_empty()) else {
        context.error(&field.child("name"), Problem::Missing);
        return None;
    };
    let namespace = match (scope, meta.namespace.filter(|name| !name.is_empty())) {
        (Scope::Cluster, None) => String::new(),
        (Scope::Cluster, Some(_)) => {
            if context.is_strict() {
                let at = field.child("namespace");
                context.error(&at, Problem::Namespaced);
            }
            String::new()
        }
        (Scope::Namespaced, given) => given.unwrap_or_else(|| "default".to_owned()),
    };
    let labels = meta.labels.unwrap_or_default();
    if context.is_strict() {
        if let Err(error) = valid_name(&own) {
            context.error(&field.child("name"), Problem::name(&own, error));
        }
        if scope == Scope::Namespaced
            && let Err(error) = name::dns_label(&namespace)
        {
            let at = field.child("namespace");
            context.error(&at, Problem::name(&namespace, error));
        }
        check_labels(&labels, &field.child("labels"), context);
        check_annotations(
            &meta.annotations.unwrap_or_default(),
            &field.child("annotations"),
            context,
        );
    }
    Some(Meta {
        name: ObjectName::new(namespace, own),
        uid: meta.uid.unwrap_or_default().into(),
        labels: labels
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect(),
    })
}

/// Reports keys and values that labels cannot have.
pub(super) fn check_labels(
    labels: &BTreeMap<String, String>,
    field: &Field,
    context: &mut Context,
) {
    for (key, value) in labels {
        let field = field.child(key);
        if let Err(error) = name::qualified(key) {
            context.error(&field, Problem::Key(error));
        }
        if let Err(error) = name::label_value(value) {
            context.error(&field, Problem::name(value, error));
        }
    }
}

/// All annotations of an object together may have this many bytes.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

fn check_annotations(annotations: &BTreeMap<String, String>, field: &Field, context: &mut Context) {
    for key in annotations.keys() {
        if let Err(error) = name::qualified(&key.to_lowercase()) {
            context.error(&field.child(key), Problem::Key(error));
        }
    }
    let size: usize = annotations
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if size > ANNOTATIONS_LIMIT {
        let limit = ANNOTATIONS_LIMIT / 1024;
        context.error(field, Problem::TooLarge(limit));
    }
}
