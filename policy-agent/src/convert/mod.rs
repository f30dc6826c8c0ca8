//! From API objects to the model's facts.
//!
//! Owns validation and defaulting, in two regimes over one code path: [`strict`] is what an API
//! server does with a manifest (everything wrong is an error, the object is refused whole), and
//! [`lenient`] reads what an API server, perhaps a newer one, already accepted (what cannot be read
//! grants nothing). Knows no files, no cluster and no other object: one object in, one fact out.
//!
//! Invariant: no regime ever yields a fact that allows more than the object says.

mod block;
mod decode;
mod field;
mod meta;
mod name;
mod namespace;
mod node;
mod object;
mod peer;
mod pod;
mod policy;
mod port;
mod problem;
mod reads;
mod selector;
mod service;

#[cfg(test)]
mod tests;

pub use block::InvalidBlock;
pub use field::{Field, FieldError, Invalid};
pub use name::InvalidName;
pub use namespace::{NAME_LABEL, implied_namespace};
pub use node::InvalidNode;
pub use object::{Kind, Object, ObjectRef, identify, is_foreign_policy};
pub use peer::InvalidPeer;
pub use pod::InvalidPod;
pub use policy::InvalidPolicy;
pub use port::InvalidPort;
pub use problem::Problem;
pub use reads::{fields, is_read};
pub use selector::InvalidSelector;
pub use service::InvalidService;

use field::Context;
use serde_json::Value;

/// What [`lenient`] made of an object, and what it could not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lenient {
    /// The object; what could not be read grants nothing.
    pub object: Object,
    /// What could not be read; empty for a sound object.
    pub problems: Vec<FieldError>,
    /// Which pods a policy is about cannot be read: where an earlier version is known, that one
    /// stays.
    pub subjects_unreadable: bool,
}

/// Converts a manifest as a strict API server would accept it.
///
/// Kinds that no policy depends on are [`Object::Ignored`].
///
/// # Errors
///
/// Every field that such a server refuses, unknown fields included. The object has no effect then.
pub fn strict(object: &Value) -> Result<Object, Invalid> {
    let mut context = Context::strict();
    let converted = object::convert(object, &mut context);
    let errors = context.into_errors();
    match converted {
        Some(object) if errors.is_empty() => Ok(object),
        _ => Err(Invalid {
            errors,
            pod: object::unreadable_pod(object).map(Box::new),
        }),
    }
}

/// Converts an object that an API server holds.
///
/// A peer, port or block that cannot be read matches nothing; an unknown policy type counts as
/// both; a policy whose `spec.podSelector` cannot be read isolates the namespace and allows
/// nothing, unless an earlier version of it is known; a pod that cannot be read is isolated and
/// nobody.
///
/// # Errors
///
/// When not even the object's name can be read.
pub fn lenient(object: &Value) -> Result<Lenient, Invalid> {
    let mut context = Context::lenient();
    let converted = object::convert(object, &mut context);
    let problems = context.into_errors();
    match converted {
        Some(object) => {
            let subjects = Field::root().child("spec").child("podSelector");
            let spec = Field::root().child("spec");
            let about_subjects =
                |problem: &FieldError| problem.field == spec || problem.field.is_within(&subjects);
            let is_policy = matches!(object, Object::Policy(_));
            Ok(Lenient {
                subjects_unreadable: is_policy && problems.iter().any(about_subjects),
                object,
                problems,
            })
        }
        None => Err(Invalid {
            errors: problems,
            pod: None,
        }),
    }
}
