//! What a source does not take, where it came from and why.

use std::{fmt, sync::Arc};

use thiserror::Error;

use super::manifests::Oddity;
use crate::{
    convert::{self, Field, ObjectRef},
    text::Printable,
};

/// Something that a source refuses. What was accepted of it before stays in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The object, when it can be told.
    pub object: Option<ObjectRef>,
    /// Where it was read.
    pub origin: Origin,
    /// The field; empty when it is about the whole object or document.
    pub field: Field,
    /// What is wrong.
    pub problem: Problem,
}

/// Where an object was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A file of manifests.
    File {
        /// Its name.
        name: Arc<str>,
        /// Where in the file; `None` when it is about the whole file.
        place: Option<Place>,
    },
    /// An API server.
    Api {
        /// The object's version.
        resource_version: Arc<str>,
        /// Its UID; empty when nobody asked for it.
        uid: Arc<str>,
    },
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The number of the document, counted from 1.
    pub document: usize,
    /// The line of the field, or of the document's beginning, counted from 1.
    pub line: usize,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// A field of an object.
    #[error(transparent)]
    Field(#[from] convert::Problem),
    /// A value that is read otherwise than it is written.
    #[error(transparent)]
    Odd(#[from] Oddity),
    /// A document that cannot be read to its end, in the parser's words.
    #[error("{0}")]
    Syntax(String),
    /// A file that is no text.
    #[error("is not UTF-8 at byte {0}")]
    NotText(usize),
    /// A file that cannot be read, in the system's words.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// A link whose target is not there.
    #[error("leads nowhere")]
    LeadsNowhere,
    /// A directory that cannot be listed, in the system's words.
    #[error("cannot be listed: {0}")]
    Unlisted(String),
    /// A file that is empty and was not.
    #[error("is empty; what it defined stays in force until the file is deleted")]
    Blank,
    /// An object that is twice in one file.
    #[error("is in document {0} of this file too, which is used")]
    InDocument(usize),
    /// An object that is in two files.
    #[error("is already defined in {0}, which is used")]
    InFile(Arc<str>),
}

impl Refusal {
    /// The file and the place in it; `None` of an API server's object.
    pub fn file(&self) -> Option<(&Arc<str>, Option<Place>)> {
        match &self.origin {
            Origin::File { name, place } => Some((name, *place)),
            Origin::Api { .. } => None,
        }
    }
}

impl Refusal {
    /// Whether another one is about the same object or, where that cannot be told, the same document.
    fn is_of(&self, other: &Self) -> bool {
        let place = |one: &Self| match &one.origin {
            Origin::File { name, place } => {
                (Some(Arc::clone(name)), place.map(|place| place.document))
            }
            Origin::Api { .. } => (None, None),
        };
        place(self) == place(other) && self.object == other.object
    }

    /// A line for each object or document, with all that is wrong with it: they stand in a row.
    pub fn lines<'a>(refusals: impl Iterator<Item = &'a Self>) -> Vec<String> {
        let mut lines: Vec<(&Self, Vec<String>)> = Vec::new();
        for refusal in refusals {
            match lines.last_mut() {
                Some((first, more)) if first.is_of(refusal) => more.push(refusal.fault()),
                _ => lines.push((refusal, Vec::new())),
            }
        }
        let line = |(first, mut more): (&Self, Vec<String>)| {
            more.dedup();
            more.retain(|fault| *fault != first.fault());
            std::iter::once(first.to_string())
                .chain(more)
                .collect::<Vec<_>>()
                .join("; ")
        };
        lines.into_iter().map(line).collect()
    }

    /// What is wrong, and with what.
    fn fault(&self) -> String {
        match self.field.as_str() {
            "" => Printable(&self.problem).to_string(),
            _ => format!("{}: {}", Printable(&self.field), Printable(&self.problem)),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, origin, .. } = self;
        write!(formatter, "{origin}: ")?;
        if let Some(object) = object {
            write!(formatter, "{}: ", Printable(object))?;
        }
        formatter.write_str(&self.fault())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, place: None } => write!(formatter, "{}", Printable(name)),
            Self::File {
                name,
                place: Some(Place { document, line }),
            } => write!(formatter, "{}:{line}: document {document}", Printable(name)),
            Self::Api {
                resource_version, ..
            } => {
                write!(
                    formatter,
                    "resource version {}",
                    Printable(resource_version)
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(document: usize, field: &str, problem: &str) -> Refusal {
        Refusal {
            object: None,
            origin: Origin::File {
                name: "a.yaml".into(),
                place: Some(Place { document, line: 1 }),
            },
            field: Field::root().child(field),
            problem: Problem::Syntax(problem.into()),
        }
    }

    #[test]
    fn all_that_is_wrong_with_a_document_is_one_line() {
        let refusals = [
            refusal(1, "apiVersion", "must be given"),
            refusal(1, "kind", "must be given"),
            refusal(1, "kind", "must be given"),
            refusal(1, "apiVersion", "must be given"),
            refusal(2, "kind", "is odd"),
        ];
        assert_eq!(
            Refusal::lines(refusals.iter()),
            [
                "a.yaml:1: document 1: apiVersion: must be given; kind: must be given",
                "a.yaml:1: document 2: kind: is odd",
            ]
        );
    }
}
