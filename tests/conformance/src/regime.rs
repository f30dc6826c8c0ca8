//! Which of the two regimes of semantics reads a case's objects.
//!
//! Objects of most cases are manifests, read as strictly as an API server does. A case that
//! requires `unvalidated` holds objects that a server would refuse today: they are read as
//! objects that a server holds all the same.

use anyhow::Result;
use policy_agent::convert::{self, Lenient, Object};
use serde_json::Value;

use super::{case::Case, step::AdmissionVerdict};

/// How objects are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Regime {
    /// As an API server reads create requests.
    Strict,
    /// As a client reads what an API server holds.
    Lenient,
}

impl Regime {
    /// The regime of a case.
    pub(crate) fn of(case: &Case) -> Self {
        if case
            .requires
            .iter()
            .any(|capability| capability == "unvalidated")
        {
            Self::Lenient
        } else {
            Self::Strict
        }
    }

    /// One object as facts.
    ///
    /// # Errors
    /// The object has no effect.
    pub(crate) fn convert(self, object: &Value) -> Result<Converted> {
        match self {
            Self::Strict => Ok(Converted {
                object: convert::strict(object)?,
                subjects_readable: true,
            }),
            Self::Lenient => {
                let Lenient {
                    object,
                    subjects_unreadable,
                    ..
                } = convert::lenient(object)?;
                Ok(Converted {
                    object,
                    subjects_readable: !subjects_unreadable,
                })
            }
        }
    }
}

/// What became of an object.
#[derive(Clone, Debug)]
pub(crate) struct Converted {
    /// The facts.
    pub(crate) object: Object,
    /// Whether it could be read which pods a policy is about; if not, its last readable version
    /// stays in force.
    pub(crate) subjects_readable: bool,
}

/// What the manifest source says to a create request, with its reason when it refuses.
pub(crate) fn admit(object: &Value) -> (AdmissionVerdict, Option<String>) {
    match convert::strict(object) {
        Ok(_) => (AdmissionVerdict::Accept, None),
        Err(refusal) => (AdmissionVerdict::Reject, Some(refusal.to_string())),
    }
}
