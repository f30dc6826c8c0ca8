//! From text to JSON values, as `kubectl` reads it. A document that breaks does not hide the ones
//! after it.
//!
//! YAML 1.1 as go-yaml has it: `on` and `no` are booleans, also as keys; only the letters `y` and `n`
//! stay letters where they are values. Where that, or `kubectl`'s
//! way to JSON, makes something else of what is written, an [`Oddity`] says so. Knows nothing of
//! Kubernetes.

mod compose;
mod decode;
mod lines;
mod older;
mod path;
mod scalar;
mod split;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;

use crate::convert::Field;
use compose::Tree;
use decode::{Decoded, decode};
pub(super) use lines::Text;
use split::{Chunk, is_blank, split};

/// One document of a file.
#[derive(Debug)]
pub(super) struct Document {
    /// Counted from 1.
    pub(super) number: usize,
    /// The line at which it begins, counted from 1.
    pub(super) line: usize,
    /// Its text, from that line on.
    pub(super) text: Arc<Text>,
    pub(super) content: Result<Parsed, SyntaxError>,
}

/// The content of a document.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Parsed {
    pub(super) value: Value,
    /// What is read otherwise than it is written.
    pub(super) oddities: Vec<Strange>,
}

/// An oddity and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strange {
    /// The field of the document.
    pub field: Field,
    /// Its line in the file, counted from 1.
    pub line: usize,
    /// What it is.
    pub oddity: Oddity,
}

/// What is read otherwise than it is written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Oddity {
    /// A key that occurs twice. The last one is read.
    #[error("is given twice")]
    Twice,
    /// A number that a leading zero makes octal.
    #[error(
        "{written} is read as octal, {read}: write {read} if that is meant, or leave the zero out"
    )]
    Octal {
        /// As it is written.
        written: String,
        /// What it is.
        read: i128,
    },
    /// What JSON cannot have.
    #[error("{0}")]
    Unfit(String),
    /// A key that is no text and becomes another one than it is written as.
    #[error(
        "is written {written}, which YAML takes for something else than text: put it in quotes if {written:?} is meant"
    )]
    Key {
        /// As it is written.
        written: String,
    },
    /// A `y` or `n` for a value: read as the letter, where `kubectl` refuses the object because YAML
    /// 1.1 has a boolean there.
    #[error("is read as the letter {written}, which kubectl takes for a boolean: put it in quotes")]
    Letter {
        /// As it is written.
        written: String,
    },
    /// A merge key after it that has another value, which counts.
    #[error("is overridden by a merge key (<<) that stands after it: put that first")]
    Overridden,
}

impl Oddity {
    /// Whether the object is refused for it; else its reading counts, and somebody should know.
    pub fn is_error(&self) -> bool {
        match self {
            Self::Twice | Self::Octal { .. } | Self::Unfit(_) => true,
            Self::Key { .. } | Self::Letter { .. } | Self::Overridden => false,
        }
    }
}

/// Where and why reading a document ended early.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SyntaxError {
    /// The line of the file, counted from 1.
    pub(super) line: usize,
    pub(super) message: String,
    /// The field that could not be read to its end.
    pub(super) field: Field,
    /// What was read before.
    pub(super) before: Parsed,
}

/// The documents of a file that are not empty. JSON is YAML too.
pub(super) fn documents(text: &str) -> Vec<Document> {
    let chunks = split(text).into_iter().enumerate();
    chunks
        .filter_map(|(index, chunk)| {
            let content = parse(&chunk);
            let empty = content
                .as_ref()
                .is_ok_and(|parsed| *parsed == Parsed::default());
            (!empty).then(|| Document {
                number: index + 1,
                line: chunk.line,
                text: Text::new(chunk.text, chunk.line),
                content,
            })
        })
        .collect()
}

fn parse(chunk: &Chunk) -> Result<Parsed, SyntaxError> {
    let Decoded {
        value,
        mut oddities,
        broken,
        ..
    } = decode(&Tree::of(&chunk.text, chunk.json), false);
    let before_it = chunk.line - 1;
    for strange in &mut oddities {
        strange.line += before_it;
    }
    let parsed = Parsed { value, oddities };
    let stray = chunk.stray.filter(|_| !is_blank(&chunk.text));
    let broken = broken
        .or_else(|| Some((1, stray?.to_owned(), Field::root())))
        .or_else(|| {
            Some((
                line_of_old_break(chunk)?,
                OLD_BREAK.to_owned(),
                Field::root(),
            ))
        });
    match broken {
        None => Ok(parsed),
        Some((line, message, field)) => Err(SyntaxError {
            line: before_it + line,
            message,
            field,
            before: parsed,
        }),
    }
}

const OLD_BREAK: &str =
    "has a character (U+0085, U+2028 or U+2029) that ends a line in YAML 1.1 and not in YAML 1.2";

/// The line, in the document, of what ends lines for `kubectl` and not for this parser: what looks
/// like a comment may go on after it.
fn line_of_old_break(chunk: &Chunk) -> Option<usize> {
    let old = |c: char| matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}');
    let before = &chunk.text[..chunk.text.find(old).filter(|_| !chunk.json)?];
    Some(1 + before.matches('\n').count())
}
