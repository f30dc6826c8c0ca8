//! From text to JSON values. A document that breaks does not hide the ones after it.
//!
//! YAML 1.2, with merge keys: `y` and `no` are strings, as namespaces may well be called. Keys that
//! are given twice are reported rather than resolved. Knows nothing of Kubernetes.

use std::{cell::RefCell, sync::Arc};

use serde::de::DeserializeSeed as _;
use serde_json::Value;

use super::lines::Text;
use super::tree::{Path, Progress, Tree};
use crate::convert::Field;

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
    /// Keys that occur twice; the value has the first occurrence.
    pub(super) duplicates: Vec<Field>,
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
        .filter_map(|(index, (line, chunk))| {
            let content = parse(&chunk, line);
            let empty = matches!(
                &content,
                Ok(Parsed {
                    value: Value::Null,
                    ..
                })
            );
            (!empty).then_some(Document {
                number: index + 1,
                line,
                text: Text::new(chunk, line),
                content,
            })
        })
        .collect()
}

/// Cuts at `---` and `...`, which begin a line only as markers, also inside of block scalars.
/// Gives the line at which each document begins.
fn split(text: &str) -> Vec<(usize, String)> {
    let mut chunks = Vec::new();
    let mut chunk = String::new();
    let mut begin = 1;
    let mut marked = false;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let marker = |marker: &str| {
            line.strip_prefix(marker)
                .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
        };
        let Some(rest) = marker("---").or_else(|| marker("...")) else {
            chunk.push_str(line);
            continue;
        };
        // What precedes the first marker is no document if it only comments or directs.
        let prologue = !marked
            && chunk.lines().all(|line| {
                let line = line.trim_start();
                line.is_empty() || line.starts_with(['#', '%'])
            });
        marked = true;
        if prologue {
            chunk.clear();
        } else {
            chunks.push((begin, std::mem::take(&mut chunk)));
        }
        // Columns stay what they are in the file.
        chunk.push_str("   ");
        chunk.push_str(rest);
        begin = index + 1;
    }
    chunks.push((begin, chunk));
    chunks
}

fn parse(chunk: &str, line: usize) -> Result<Parsed, SyntaxError> {
    let progress = RefCell::default();
    let value = walk(chunk, &progress);
    let Progress {
        duplicates, broken, ..
    } = progress.into_inner();
    let error = match value {
        Ok(value) => return Ok(Parsed { value, duplicates }),
        Err(error) => error,
    };
    let (field, value) = broken.unwrap_or_default();
    let mut message = error.to_string();
    let mut at = 1;
    if let Some(location) = error.location() {
        at = usize::try_from(location.line()).unwrap_or(1).max(1);
        // Counted from the beginning of the document.
        let place = format!(" at line {at}, column {}", location.column());
        if let Some(bare) = message.strip_suffix(&place) {
            message.truncate(bare.len());
        }
    }
    Err(SyntaxError {
        line: line - 1 + at,
        message,
        field,
        before: Parsed { value, duplicates },
    })
}

/// Reads a document, and what is asked for besides.
pub(super) fn walk(text: &str, progress: &RefCell<Progress>) -> Result<Value, serde_saphyr::Error> {
    use serde_saphyr::options::DuplicateKeyPolicy;
    // A list of all pods of a large cluster is one document; depth, aliases and their expansion
    // stay bounded.
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        // Others read 0777 as octal; as a text it is no port, whichever is meant.
        leading_zero_numbers_as_strings: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_events: 100_000_000,
            max_nodes: 50_000_000,
            max_total_scalar_bytes: 1 << 30,
        },
    };
    let tree = Tree {
        path: &Path::Root,
        progress,
    };
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| {
        tree.deserialize(yaml)
    })
}
