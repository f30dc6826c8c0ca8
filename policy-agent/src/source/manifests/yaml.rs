//! From text to JSON values. A document that breaks does not hide the ones after it.
//!
//! YAML 1.2, with merge keys: `y` and `no` are strings, as namespaces may well be called. Keys that
//! are given twice are reported rather than resolved. Knows nothing of Kubernetes.

use std::{cell::RefCell, sync::Arc};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use crate::convert::Field;

/// One document of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Document {
    /// Counted from 1.
    pub(super) number: usize,
    /// The line at which it begins, counted from 1.
    pub(super) line: usize,
    /// Its text, from that line on.
    pub(super) text: Arc<str>,
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
                text: chunk.into(),
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

fn walk(chunk: &str, progress: &RefCell<Progress>) -> Result<Value, serde_saphyr::Error> {
    use serde_saphyr::options::DuplicateKeyPolicy;
    // A list of all pods of a large cluster is one document; depth, aliases and their expansion
    // stay bounded.
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
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
    serde_saphyr::with_deserializer_from_str_with_options(chunk, options, |yaml| {
        tree.deserialize(yaml)
    })
}

/// The lines on which the fields of a document are.
pub(super) struct Lines(Vec<(Field, usize)>);

impl Lines {
    /// Of a document's text that begins at this line, as far as it can be read.
    pub(super) fn of(text: &str, line: usize) -> Self {
        let progress = RefCell::new(Progress {
            lines: Some(Vec::new()),
            ..Progress::default()
        });
        // How far it could be read has been said before.
        let _ = walk(text, &progress);
        let lines = progress.into_inner().lines.unwrap_or_default();
        let absolute = |(field, at)| (field, line - 1 + at);
        Self(lines.into_iter().map(absolute).collect())
    }

    /// The line of a field, of its first part, or else of what it is a part of.
    pub(super) fn find(&self, field: &Field) -> Option<usize> {
        let line = |entry: &(Field, usize)| entry.1;
        let within = self.0.iter().find(|(at, _)| at.is_within(field));
        within.map(line).or_else(|| {
            let around = self.0.iter().filter(|(at, _)| field.is_within(at));
            around.max_by_key(|(at, _)| at.as_str().len()).map(line)
        })
    }
}

/// Where in a document the reader is; a field only when something is to be said of it.
enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl Path<'_> {
    fn field(&self) -> Field {
        match self {
            Self::Root => Field::root(),
            Self::Key(parent, key) => parent.field().child(key),
            Self::Item(parent, index) => parent.field().index(*index),
        }
    }
}

/// What is worth knowing of a document besides its value.
#[derive(Default)]
struct Progress {
    duplicates: Vec<Field>,
    /// The field at which reading broke, and the part that was read of the value that is being
    /// unwound.
    broken: Option<(Field, Value)>,
    /// The lines of all fields, when they are asked for.
    lines: Option<Vec<(Field, usize)>>,
}

/// Reads a value and remembers keys that occur twice, and what was read when it broke.
struct Tree<'a> {
    path: &'a Path<'a>,
    progress: &'a RefCell<Progress>,
}

impl Tree<'_> {
    /// Keeps what was read of this value; `attach` adds what was read of the child that broke, if
    /// it was a child.
    fn broke(&self, attach: impl FnOnce(Option<Value>) -> Value) {
        let mut progress = self.progress.borrow_mut();
        progress.broken = Some(match progress.broken.take() {
            Some((field, child)) => (field, attach(Some(child))),
            None => (self.path.field(), attach(None)),
        });
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Value, E> {
        Err(E::custom("binary data is not supported"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            let item = items.next_element_seed(Tree {
                path: &Path::Item(self.path, values.len()),
                progress: self.progress,
            });
            match item {
                Ok(Some(value)) => values.push(value),
                Ok(None) => return Ok(Value::Array(values)),
                Err(error) => {
                    self.broke(|child| Value::Array(values.into_iter().chain(child).collect()));
                    return Err(error);
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        loop {
            let (key, line) = match entries.next_key::<Spanned<String>>() {
                Ok(Some(key)) => (key.value, key.referenced.line()),
                Ok(None) => return Ok(Value::Object(members)),
                Err(error) => {
                    self.broke(|_| Value::Object(members));
                    return Err(error);
                }
            };
            let path = Path::Key(self.path, &key);
            if let Some(lines) = &mut self.progress.borrow_mut().lines {
                lines.push((path.field(), usize::try_from(line).unwrap_or(1).max(1)));
            }
            let value = entries.next_value_seed(Tree {
                path: &path,
                progress: self.progress,
            });
            match value {
                Ok(_) if members.contains_key(&key) => {
                    self.progress.borrow_mut().duplicates.push(path.field());
                }
                Ok(value) => {
                    members.insert(key, value);
                }
                Err(error) => {
                    self.broke(|child| {
                        members.insert(key, child.unwrap_or_default());
                        Value::Object(members)
                    });
                    return Err(error);
                }
            }
        }
    }
}
