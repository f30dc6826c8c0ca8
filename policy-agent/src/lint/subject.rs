//! Which object a finding is about, of whatever kind.

use std::fmt;

use serde_json::Value;

use crate::{convert::ObjectRef, source::manifests::Entry};

/// An object by its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its `kind`.
    pub kind: String,
    /// Its namespace; empty where it has none, or says none and is of a kind without effect.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Subject {
    /// The object of an entry; `None` when it has no name.
    pub(super) fn of(entry: &Entry) -> Option<Self> {
        if let Some(object) = entry.object.clone() {
            return Some(object.into());
        }
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let metadata = entry.written.get("metadata")?;
        Some(Self {
            kind: text(entry.written.get("kind"))?,
            namespace: text(metadata.get("namespace")).unwrap_or_default(),
            name: text(metadata.get("name"))?,
        })
    }
}

impl From<ObjectRef> for Subject {
    fn from(object: ObjectRef) -> Self {
        Self {
            kind: object.kind.name().to_owned(),
            namespace: object.name.namespace.to_string(),
            name: object.name.name.to_string(),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            namespace,
            name,
        } = self;
        match namespace.as_str() {
            "" => write!(formatter, "{kind} {name}"),
            namespace => write!(formatter, "{kind} {namespace}/{name}"),
        }
    }
}
