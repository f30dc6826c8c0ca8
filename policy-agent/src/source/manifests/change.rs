//! Which change of the model an object is.

use std::sync::Arc;

use policy_core::model::Change;

use crate::convert::{Kind, Object, ObjectRef};

/// The object exists like this; `None` for kinds that the model does not have.
pub(super) fn upsert(object: &Object) -> Option<Change> {
    match object {
        Object::Namespace(fact) => Some(Change::Namespace(fact.clone())),
        Object::Pod(pod) => Some(Change::Pod(pod.clone())),
        Object::Policy(fact) => Some(Change::Policy(fact.clone())),
        Object::Service(_) | Object::Ignored { .. } => None,
    }
}

/// The object is gone.
pub(super) fn removal(key: &ObjectRef) -> Option<Change> {
    match key.kind {
        Kind::Namespace => Some(Change::NamespaceRemoved(Arc::clone(&key.name.name))),
        Kind::Pod => Some(Change::PodRemoved(key.name.clone())),
        Kind::NetworkPolicy => Some(Change::PolicyRemoved(key.name.clone())),
        Kind::Service => None,
    }
}
