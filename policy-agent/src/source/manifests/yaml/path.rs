//! Where in a document a reader is.

use super::compose::{Content, Id, Tree};
use crate::convert::Field;

/// Where in a document the reader is; a field only when something is to be said of it.
pub(super) enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl Path<'_> {
    pub(super) fn field(&self) -> Field {
        match self {
            Self::Root => Field::root(),
            Self::Key(parent, key) => parent.field().child(key),
            Self::Item(parent, index) => parent.field().index(*index),
        }
    }
}

/// The field of the innermost of these lists and maps.
pub(super) fn field_of(tree: &Tree<'_>, open: &[Id]) -> Field {
    let mut field = Field::root();
    for (around, inner) in open.iter().zip(open.iter().skip(1)) {
        field = match tree.node(*around).map(|node| &node.content) {
            Some(Content::List { items, .. }) => field.index(items.len().saturating_sub(1)),
            Some(Content::Map { entries, .. }) => match entries.last() {
                Some((key, Some(value))) if value == inner => match tree.node(*key) {
                    Some(node) => match &node.content {
                        Content::Scalar { text, .. } => field.child(text),
                        _ => field,
                    },
                    None => field,
                },
                _ => field,
            },
            _ => field,
        };
    }
    field
}
