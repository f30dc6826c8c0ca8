//! On which line of a document a field is.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use super::{compose::Tree, decode::decode};
use crate::convert::Field;

/// The text of a document, and the lines of its fields once somebody asks for one.
#[derive(Debug)]
pub(in super::super) struct Text {
    text: Box<str>,
    line: usize,
    lines: OnceLock<Lines>,
}

impl Text {
    /// A text that begins at this line of its file.
    pub(in super::super) fn new(text: impl Into<Box<str>>, line: usize) -> Arc<Self> {
        Arc::new(Self {
            text: text.into(),
            line,
            lines: OnceLock::new(),
        })
    }

    /// The line of a field, of its first part, or else of what it is a part of.
    pub(in super::super) fn line_of(&self, field: &Field) -> Option<usize> {
        let lines = self.lines.get_or_init(|| Lines::of(&self.text, self.line));
        lines.find(field)
    }
}

/// The lines of the fields of a document.
#[derive(Debug)]
struct Lines(BTreeMap<String, usize>);

impl Lines {
    /// Of a document's text that begins at this line, as far as it can be read.
    fn of(text: &str, line: usize) -> Self {
        // How far it can be read is said by whoever reads the document itself.
        let mut lines = BTreeMap::new();
        for (field, at) in decode(&Tree::of(text, true), true).lines {
            // Of a key that is given twice, the second is the one to look at.
            lines.insert(field.as_str().to_owned(), line - 1 + at);
        }
        Self(lines)
    }

    fn find(&self, field: &Field) -> Option<usize> {
        let field = field.as_str();
        let first_part = || {
            let parts = [".", "["].into_iter().filter_map(|separator| {
                let prefix = format!("{field}{separator}");
                let (part, line) = self.0.range(prefix.clone()..).next()?;
                part.starts_with(&prefix).then_some(*line)
            });
            parts.min()
        };
        let around = || {
            let mut rest = field;
            loop {
                rest = &rest[..rest.rfind(['.', '['])?];
                if let Some(line) = self.0.get(rest) {
                    return Some(*line);
                }
            }
        };
        let exactly = self.0.get(field).copied();
        exactly.or_else(first_part).or_else(around)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_on_its_line_or_on_that_of_what_is_nearest() {
        let text = "spec:\n  a:\n  - c: 1\n    b: 2\n  - [x]\n  a.b: 3\n";
        let lines = Lines::of(text, 11);
        let spec = Field::root().child("spec");
        let item = spec.child("a").index(0);
        assert_eq!(lines.find(&spec), Some(11));
        assert_eq!(lines.find(&item.child("b")), Some(14));
        assert_eq!(lines.find(&item.child("missing")), Some(12));
        assert_eq!(lines.find(&spec.child("a").index(1).index(0)), Some(12));
        assert_eq!(lines.find(&spec.child("a.b")), Some(16));
        assert_eq!(lines.find(&Field::root()), None);
    }
}
