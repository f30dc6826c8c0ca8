//! From the bytes of one file to the objects it defines and what is wrong with them.
//!
//! Pure: knows no directory, no other file, and not what the file said before.

use std::sync::Arc;

use serde_json::Value;

use super::{
    problem::{Place, Problem},
    yaml::{self, Document, Parsed, SyntaxError},
};
use crate::convert::{self, Field, FieldError, Kind, Object, ObjectRef, UNKNOWN_FIELD};

/// What one file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct File {
    /// Its objects in order, sound or broken.
    pub entries: Vec<Entry>,
    /// Whether there is nothing in it, not even a comment: more likely a file that is being
    /// written, or could not be, than one that was emptied on purpose.
    pub blank: bool,
}

/// One object, or what should have been one.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where it is.
    pub place: Option<Place>,
    /// Which object it is; `None` when that cannot be told or its kind has no effect.
    pub object: Option<ObjectRef>,
    /// The object as it is written; null when it cannot be read.
    pub written: Value,
    /// The object, or why it is refused.
    pub outcome: Result<Object, Vec<FieldError>>,
}

impl Entry {
    /// The reasons for refusal as problems of `file`.
    pub fn problems(&self, file: &Arc<str>) -> impl Iterator<Item = Problem> {
        let errors = self.outcome.as_ref().err().into_iter().flatten();
        errors.map(|error| Problem {
            file: Arc::clone(file),
            place: self.place,
            object: self.object.clone(),
            field: error.field.clone(),
            message: error.message.clone(),
        })
    }

    fn broken(place: Option<Place>, message: String) -> Self {
        let field = Field::root();
        Self {
            place,
            object: None,
            written: Value::Null,
            outcome: Err(vec![FieldError { field, message }]),
        }
    }
}

impl File {
    /// Reads the bytes of a file.
    pub fn read(bytes: &[u8]) -> Self {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.trim_start_matches('\u{feff}'),
            Err(error) => {
                let message = format!("is not UTF-8 at byte {}", error.valid_up_to());
                return Self::unreadable(message);
            }
        };
        Self {
            entries: yaml::documents(text)
                .into_iter()
                .flat_map(entries)
                .collect(),
            blank: text
                .bytes()
                .all(|byte| byte == 0 || byte.is_ascii_whitespace()),
        }
    }

    /// `apiVersion` and `kind` of what is in it without effect.
    pub fn ignored(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries
            .iter()
            .filter_map(|entry| match &entry.outcome {
                Ok(Object::Ignored { api_version, kind }) => {
                    Some((api_version.as_str(), kind.as_str()))
                }
                _ => None,
            })
    }

    /// A file that is there but cannot be read.
    pub fn unreadable(message: String) -> Self {
        Self {
            entries: vec![Entry::broken(None, message)],
            blank: false,
        }
    }
}

fn entries(document: Document) -> Vec<Entry> {
    let number = document.number;
    let place = |line| {
        Some(Place {
            document: number,
            line,
        })
    };
    let Parsed { value, duplicates } = match document.content {
        Ok(parsed) => parsed,
        Err(error) => return vec![cut_short(place(error.line), error)],
    };
    let place = place(document.line);
    let mut duplicates: Vec<FieldError> = duplicates
        .into_iter()
        .map(|field| FieldError {
            field,
            message: "is given twice".to_owned(),
        })
        .collect();
    let mut objects = Vec::new();
    if let Err(error) = expand(value, &Field::root(), &mut objects) {
        return vec![Entry {
            outcome: Err(vec![error]),
            ..Entry::broken(place, String::new())
        }];
    }
    let mut entries: Vec<_> = objects
        .into_iter()
        .map(|(field, written)| {
            let own = duplicates.extract_if(.., |duplicate| duplicate.field.is_within(&field));
            let own = own.collect();
            entry(place, &field, written, own)
        })
        .collect();
    if !duplicates.is_empty() {
        // In the list around the objects: which objects it was to have is not known.
        entries.push(Entry {
            outcome: Err(duplicates),
            ..Entry::broken(place, String::new())
        });
    }
    entries
}

/// A document whose syntax breaks somewhere: what was read before may still tell which object it is,
/// and has often the reason in it.
fn cut_short(place: Option<Place>, error: SyntaxError) -> Entry {
    let SyntaxError {
        message,
        field,
        before,
        ..
    } = error;
    let metadata = Field::root().child("metadata");
    let named = !field.is_within(&metadata) && ListKind::of(&before.value).is_none();
    let read = entry(place, &Field::root(), before.value, Vec::new());
    let unknown = read.outcome.err().into_iter().flatten();
    let mut errors = vec![FieldError { field, message }];
    errors.extend(unknown.filter(FieldError::is_unknown_field));
    Entry {
        object: read
            .object
            .filter(|_| named && before.duplicates.is_empty()),
        outcome: Err(errors),
        ..Entry::broken(place, String::new())
    }
}

fn entry(
    place: Option<Place>,
    field: &Field,
    written: Value,
    duplicates: Vec<FieldError>,
) -> Entry {
    let metadata = field.child("metadata");
    let naming = [
        field.child("apiVersion"),
        field.child("kind"),
        metadata.child("name"),
        metadata.child("namespace"),
        metadata,
    ];
    let ambiguous = duplicates
        .iter()
        .any(|duplicate| naming.contains(&duplicate.field));
    let object = convert::identify(&written).filter(|_| !ambiguous);
    let outcome = match convert::strict(&written) {
        Ok(object) if duplicates.is_empty() => Ok(object),
        Ok(_) => Err(duplicates),
        Err(invalid) => {
            let errors = invalid.errors.into_iter().map(|error| FieldError {
                field: field.join(&error.field),
                ..error
            });
            Err(duplicates.into_iter().chain(errors).collect())
        }
    };
    Entry {
        place,
        object,
        written,
        outcome,
    }
}

/// The items of a list of objects, each with its path in the document; or the object itself.
fn expand(value: Value, field: &Field, into: &mut Vec<(Field, Value)>) -> Result<(), FieldError> {
    let Some(list) = ListKind::of(&value) else {
        into.push((field.clone(), value));
        return Ok(());
    };
    let Value::Object(mut members) = value else {
        return Ok(());
    };
    let known = ["apiVersion", "kind", "metadata", "items"];
    if let Some(name) = members.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(FieldError {
            field: field.child(name),
            message: UNKNOWN_FIELD.to_owned(),
        });
    }
    let field = field.child("items");
    let items = match members.remove("items") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => {
            let message = "is not a list".to_owned();
            return Err(FieldError { field, message });
        }
    };
    for (index, mut item) in items.into_iter().enumerate() {
        if let (ListKind::Of(kind), Value::Object(item)) = (&list, &mut item) {
            // The items of a typed list need not repeat what the list says.
            item.entry("kind").or_insert_with(|| kind.name().into());
            let api_version = members.get("apiVersion").cloned().unwrap_or_default();
            item.entry("apiVersion").or_insert(api_version);
        }
        expand(item, &field.index(index), into)?;
    }
    Ok(())
}

/// The lists that are opened.
enum ListKind {
    /// v1 List: objects of any kind.
    Any,
    /// PodList and its like.
    Of(Kind),
}

impl ListKind {
    fn of(value: &Value) -> Option<Self> {
        let kind = value.get("kind")?.as_str()?.strip_suffix("List")?;
        if kind.is_empty() {
            return (value.get("apiVersion")?.as_str()? == "v1").then_some(Self::Any);
        }
        let named = |known: &Kind| known.name() == kind;
        Kind::ALL.into_iter().find(named).map(Self::Of)
    }
}
