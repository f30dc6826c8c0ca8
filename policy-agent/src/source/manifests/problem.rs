//! What is wrong in a manifest, and where.

use std::{fmt, sync::Arc};

use crate::convert::{Field, ObjectRef};

/// Something in a file that is refused. What was accepted before stays in force.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file.
    pub file: Arc<str>,
    /// Where in the file; `None` when it is about the whole file.
    pub place: Option<Place>,
    /// The object, when it can be told.
    pub object: Option<ObjectRef>,
    /// The field; empty when it is about the whole object or document.
    pub field: Field,
    /// What is wrong.
    pub message: String,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The number of the document, counted from 1.
    pub document: usize,
    /// The line of the field, or of the document's beginning, counted from 1.
    pub line: usize,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            place,
            object,
            field,
            message,
        } = self;
        match place {
            Some(Place { document, line }) => {
                write!(formatter, "{file}:{line}: document {document}: ")?;
            }
            None => write!(formatter, "{file}: ")?,
        }
        if let Some(object) = object {
            write!(formatter, "{object}: ")?;
        }
        if !field.as_str().is_empty() {
            write!(formatter, "{field}: ")?;
        }
        formatter.write_str(message)
    }
}
