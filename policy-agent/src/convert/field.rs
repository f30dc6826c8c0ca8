//! Where in an object something is wrong, and the list of what is.

use std::fmt;

use policy_core::model::PodFact;
use thiserror::Error;

use super::problem::Problem;

/// The path of a field, as Kubernetes writes it: `spec.ingress[0].from[1].ipBlock.except[0]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field(String);

impl Field {
    /// The object itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// A field of this one. Names that a path could not show are quoted in brackets, as map keys
    /// such as `metadata.labels["app.kubernetes.io/name"]` are.
    pub fn child(&self, name: &str) -> Self {
        let plain = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        match (plain, self.0.is_empty()) {
            (true, true) => Self(name.to_owned()),
            (true, false) => Self(format!("{}.{name}", self.0)),
            (false, _) => Self(format!("{}[{name:?}]", self.0)),
        }
    }

    /// An item of this list, counted from 0.
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// A path that continues at this one.
    pub fn join(&self, rest: &Self) -> Self {
        let dot = match (
            self.0.is_empty(),
            rest.0.is_empty() || rest.0.starts_with('['),
        ) {
            (false, false) => ".",
            _ => "",
        };
        Self(format!("{}{dot}{}", self.0, rest.0))
    }

    /// The path from the other field to this one; `None` when this is no part of it.
    pub fn below(&self, other: &Self) -> Option<Self> {
        let rest = self
            .0
            .get(other.0.len()..)
            .filter(|_| self.is_within(other))?;
        Some(Self(rest.strip_prefix('.').unwrap_or(rest).to_owned()))
    }

    /// Whether this is the other field or a part of it.
    pub fn is_within(&self, other: &Self) -> bool {
        other.0.is_empty()
            || self
                .0
                .strip_prefix(&other.0)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    }

    /// The path; empty for the object itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Field {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One thing that is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{}{problem}", .field.0, if .field.0.is_empty() { "" } else { ": " })]
pub struct FieldError {
    /// The field.
    pub field: Field,
    /// What is wrong with it.
    pub problem: Problem,
}

/// An object that is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", .errors.iter().map(FieldError::to_string).collect::<Vec<_>>().join("; "))]
pub struct Invalid {
    /// Why; never empty.
    pub errors: Vec<FieldError>,
    /// What is known of a Pod all the same: it is there, and nobody. Boxed: refusals are rare.
    pub pod: Option<Box<PodFact>>,
}

/// The regime of one conversion and what it has found wrong so far.
pub(super) struct Context {
    strict: bool,
    errors: Vec<FieldError>,
}

impl Context {
    pub(super) fn strict() -> Self {
        Self {
            strict: true,
            errors: Vec::new(),
        }
    }

    pub(super) fn lenient() -> Self {
        Self {
            strict: false,
            errors: Vec::new(),
        }
    }

    /// Whether the object comes from a manifest, and must be what a server would accept.
    pub(super) fn is_strict(&self) -> bool {
        self.strict
    }

    pub(super) fn error(&mut self, field: &Field, problem: impl Into<Problem>) {
        self.errors.push(FieldError {
            field: field.clone(),
            problem: problem.into(),
        });
    }

    /// What `read` returns, or nothing if it reported anything: a piece with one unreadable part
    /// is unreadable.
    pub(super) fn whole<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let before = self.errors.len();
        let piece = read(self);
        piece.filter(|_| self.errors.len() == before)
    }

    pub(super) fn into_errors(self) -> Vec<FieldError> {
        self.errors
    }
}
