//! Names and labels of any object. Source: `ValidateObjectMeta` of Kubernetes.

use std::sync::Arc;

use policy_core::model::{Labels, ObjectName};
use serde_json::Value;

use super::{
    decode::{object, text, texts},
    field::{Context, Field},
    name::{self, InvalidName},
    problem::Problem,
};

/// The fields of ObjectMeta in Kubernetes 1.37.
const KNOWN: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// What a node's agent says of the file that a static pod comes from: the pod that its runtime
/// knows has this UID, the mirror in the API server another one each time it is made.
const MIRROR: &str = "kubernetes.io/config.mirror";

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
    /// `None` when they cannot be read.
    pub(super) labels: Option<Labels>,
}

/// Reads `metadata`; `None` when the object cannot be named.
pub(super) fn meta(
    written: &Value,
    scope: Scope,
    valid_name: fn(&str) -> Result<(), InvalidName>,
    context: &mut Context,
) -> Option<Meta> {
    let field = Field::root().child("metadata");
    let meta = object(written.get("metadata"), &field, context)?;
    let get = |name: &str| meta.and_then(|meta| meta.get(name));
    let at = field.child("name");
    let own = text(get("name"), &at, context)?.unwrap_or_default();
    if own.is_empty() {
        context.error(&at, Problem::Missing);
        return None;
    }
    let at = field.child("namespace");
    let given = text(get("namespace"), &at, context)?.filter(|name| !name.is_empty());
    let namespace = match (scope, given) {
        (Scope::Cluster, given) => {
            if given.is_some() && context.is_strict() {
                context.error(&at, Problem::Namespaced);
            }
            ""
        }
        (Scope::Namespaced, given) => given.unwrap_or("default"),
    };
    let at = field.child("labels");
    let labels = texts(get("labels"), &at, context);
    if context.is_strict() {
        if let Err(error) = valid_name(own) {
            context.error(&field.child("name"), Problem::name(own, error));
        }
        if scope == Scope::Namespaced
            && let Err(error) = name::dns_label(namespace)
        {
            let at = field.child("namespace");
            context.error(&at, Problem::name(namespace, error));
        }
        check_labels(labels.as_deref().unwrap_or_default(), &at, context);
    }
    // Who may not know a static pod's file knows its mirror's UID at least.
    let text_at = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let mirror = get("annotations").and_then(|annotations| annotations.get(MIRROR));
    let uid = text_at(mirror).or_else(|| text_at(get("uid")));
    let pair = |(key, value): (&str, &str)| (key.into(), value.into());
    Some(Meta {
        name: ObjectName::new(namespace, own),
        uid: uid.unwrap_or_default().into(),
        labels: labels.map(|labels| labels.into_iter().map(pair).collect()),
    })
}

/// Reports what else a strict server refuses in the metadata of a manifest: who misspells
/// `namespace` means another object.
pub(super) fn check_metadata(written: &Value, context: &mut Context) {
    let field = Field::root().child("metadata");
    let Some(Some(meta)) = super::decode::members(written.get("metadata"), &KNOWN, &field, context)
    else {
        return;
    };
    let at = field.child("annotations");
    if let Some(annotations) = texts(meta.get("annotations"), &at, context) {
        check_annotations(&annotations, &at, context);
    }
}

/// Reports keys and values that labels cannot have.
pub(super) fn check_labels(labels: &[(&str, &str)], field: &Field, context: &mut Context) {
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

fn check_annotations(annotations: &[(&str, &str)], field: &Field, context: &mut Context) {
    for (key, _) in annotations {
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
