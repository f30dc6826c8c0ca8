//! Reads a YAML document into a value, and remembers on the way what a value does not show: keys that
//! occur twice, lines, and how far reading got.

use std::cell::RefCell;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use crate::convert::Field;

/// Where in a document the reader is; a field only when something is to be said of it.
pub(super) enum Path<'a> {
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
pub(super) struct Progress {
    pub(super) duplicates: Vec<Field>,
    /// The field at which reading broke, and the part that was read of the value that is being
    /// unwound.
    pub(super) broken: Option<(Field, Value)>,
    /// The lines of all fields, when they are asked for.
    pub(super) lines: Option<Vec<(Field, usize)>>,
}

/// Reads a value and remembers keys that occur twice, and what was read when it broke.
pub(super) struct Tree<'a> {
    pub(super) path: &'a Path<'a>,
    pub(super) progress: &'a RefCell<Progress>,
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
