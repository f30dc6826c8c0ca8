//! From the bytes of one file to the objects it defines and what is wrong with them.
//!
//! Pure: knows no directory, no other file, and not what the file said before.

use std::sync::Arc;

use policy_core::model::{Labels, PodFact};
use serde_json::Value;

use super::{
    digest::Digest,
    list::{ListKind, expand},
    yaml::{self, Document, Parsed, Strange, SyntaxError, Text},
};
use crate::{
    convert::{self, Field, FieldError, Object, ObjectRef},
    source::{Origin, Place, Problem, Refusal},
};

/// What one file says.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// Its objects in order, sound or broken.
    pub entries: Vec<Entry>,
    /// Whether there is nothing in it, not even a comment: more likely a file that is being
    /// written, or could not be, than one that was emptied on purpose.
    pub blank: bool,
    /// The digest of its bytes; `None` when it cannot be read.
    pub digest: Option<Digest>,
}

/// One object, or what should have been one.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The document it is in.
    pub place: Option<Place>,
    /// Which object it is; `None` when that cannot be told or its kind has no effect.
    pub object: Option<ObjectRef>,
    /// The object as it is written; null when it cannot be read.
    pub written: Value,
    /// The object, or why it is refused.
    pub outcome: Result<Object, Vec<Fault>>,
    /// What is known of a pod that is refused.
    pub pod: Option<Box<PodFact>>,
    /// What of it is read otherwise than it is written, and counts all the same.
    pub oddities: Vec<Strange>,
    /// Where in the document it is: an item of a list.
    field: Field,
    /// The document.
    text: Arc<Text>,
}

/// Why an object is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field of the document.
    pub field: Field,
    /// What is wrong with it.
    pub problem: Problem,
    /// The line of the field, when it is another than the document's.
    pub line: Option<usize>,
}

impl Entry {
    /// Why it is refused, as an object of `file`.
    pub fn refusals(&self, file: &Arc<str>) -> impl Iterator<Item = Refusal> {
        let faults = self.outcome.as_ref().err().into_iter().flatten();
        faults.map(|fault| Refusal {
            object: self.object.clone(),
            origin: Origin::File {
                name: Arc::clone(file),
                place: self.place.map(|place| Place {
                    line: fault.line.unwrap_or(place.line),
                    ..place
                }),
            },
            field: fault.field.clone(),
            problem: fault.problem.clone(),
        })
    }

    /// The place of a field of the object.
    pub fn place_of(&self, field: &Field) -> Option<Place> {
        let place = self.place?;
        let field = self.field.join(field);
        let line = self.text.line_of(&field);
        Some(Place {
            line: line.unwrap_or(place.line),
            ..place
        })
    }

    fn broken(place: Option<Place>, text: &Arc<Text>, faults: Vec<Fault>) -> Self {
        Self {
            place,
            object: None,
            written: Value::Null,
            outcome: Err(faults),
            pod: None,
            oddities: Vec::new(),
            field: Field::root(),
            text: Arc::clone(text),
        }
    }
}

/// The pod that is there, and of which nothing counts but where it is.
fn nobody(pod: PodFact) -> Box<PodFact> {
    Box::new(PodFact {
        unreadable: true,
        labels: Labels::default(),
        ports: Vec::new(),
        ..pod
    })
}

fn faults(errors: Vec<FieldError>) -> Vec<Fault> {
    let fault = |FieldError { field, problem }| Fault {
        field,
        problem: problem.into(),
        line: None,
    };
    errors.into_iter().map(fault).collect()
}

impl File {
    /// Reads the bytes of a file.
    pub fn read(bytes: &[u8]) -> Self {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.trim_start_matches('\u{feff}'),
            Err(error) => {
                return Self {
                    digest: Some(Digest::of(bytes)),
                    ..Self::unreadable(Problem::NotText(error.valid_up_to()))
                };
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
            digest: Some(Digest::of(bytes)),
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

    /// What of its objects is read otherwise than it is written, and counts all the same.
    pub fn oddities(&self) -> impl Iterator<Item = (&ObjectRef, &Strange)> {
        self.entries.iter().flat_map(|entry| {
            let object = entry.object.as_ref().filter(|_| entry.outcome.is_ok());
            let oddities = object.map(|object| entry.oddities.iter().map(move |odd| (object, odd)));
            oddities.into_iter().flatten()
        })
    }

    /// A file that is there but cannot be read.
    pub fn unreadable(problem: Problem) -> Self {
        let fault = Fault {
            field: Field::root(),
            problem,
            line: None,
        };
        Self {
            entries: vec![Entry::broken(None, &Text::new("", 1), vec![fault])],
            blank: false,
            digest: None,
        }
    }
}

fn entries(document: Document) -> Vec<Entry> {
    let place = Place {
        document: document.number,
        line: document.line,
    };
    let text = document.text;
    let mut entries = match document.content {
        Ok(parsed) => complete(place, &text, parsed),
        Err(error) => vec![cut_short(place, &text, error)],
    };
    for entry in &mut entries {
        for fault in entry.outcome.as_mut().err().into_iter().flatten() {
            if fault.line.is_none() && !fault.field.as_str().is_empty() {
                fault.line = text.line_of(&fault.field);
            }
        }
    }
    entries
}

fn complete(place: Place, text: &Arc<Text>, parsed: Parsed) -> Vec<Entry> {
    let Parsed {
        value,
        mut oddities,
    } = parsed;
    let mut objects = Vec::new();
    if let Err(error) = expand(value, &Field::root(), &mut objects) {
        return vec![Entry::broken(Some(place), text, faults(vec![error]))];
    }
    let mut entries: Vec<_> = objects
        .into_iter()
        .map(|(field, written)| {
            let own = oddities.extract_if(.., |strange| strange.field.is_within(&field));
            let own = own.collect();
            entry(place, text, field, written, own)
        })
        .collect();
    let errors = oddities
        .into_iter()
        .filter(|strange| strange.oddity.is_error());
    let errors: Vec<_> = errors.map(fault).collect();
    if !errors.is_empty() {
        // In the list around the objects: which objects it was to have is not known.
        entries.push(Entry::broken(Some(place), text, errors));
    }
    entries
}

/// A document whose syntax breaks somewhere: what was read before may still tell which object it is,
/// and has often the reason in it.
fn cut_short(place: Place, text: &Arc<Text>, error: SyntaxError) -> Entry {
    let SyntaxError {
        line,
        message,
        field,
        before,
    } = error;
    let metadata = Field::root().child("metadata");
    let named = !before
        .oddities
        .iter()
        .any(|strange| strange.oddity.is_error())
        && !field.is_within(&metadata)
        && ListKind::of(&before.value).is_none();
    let read = entry(place, text, Field::root(), before.value, Vec::new());
    let mut faults = vec![Fault {
        field,
        problem: Problem::Syntax(message),
        line: Some(line),
    }];
    let unknown = Problem::Field(convert::Problem::Unknown);
    let others = read.outcome.err().into_iter().flatten();
    faults.extend(others.filter(|fault| fault.problem == unknown));
    Entry {
        object: read.object.filter(|_| named),
        outcome: Err(faults),
        pod: read.pod.filter(|_| named),
        ..Entry::broken(Some(place), text, Vec::new())
    }
}

fn entry(
    place: Place,
    text: &Arc<Text>,
    field: Field,
    written: Value,
    mut oddities: Vec<Strange>,
) -> Entry {
    let metadata = field.child("metadata");
    let naming = [
        field.child("apiVersion"),
        field.child("kind"),
        metadata.child("name"),
        metadata.child("namespace"),
        metadata,
        field.clone(),
    ];
    let object = convert::identify(&written);
    if let Some(object) = &object {
        oddities.retain(|strange| {
            let own = strange.field.below(&field);
            own.is_none_or(|own| convert::is_read(object.kind, &own))
        });
    }
    let mut refused = Vec::new();
    let mut ambiguous = false;
    for strange in oddities.extract_if(.., |strange| strange.oddity.is_error()) {
        ambiguous |= naming.contains(&strange.field);
        refused.push(fault(strange));
    }
    let mut pod = None;
    let outcome = match convert::strict(&written) {
        Ok(object) if refused.is_empty() => Ok(object),
        Ok(object) => {
            if let Object::Pod(fact) = object {
                pod = Some(Box::new(fact));
            }
            Err(refused)
        }
        Err(invalid) => {
            pod = invalid.pod;
            let errors = invalid.errors.into_iter().map(|error| FieldError {
                field: field.join(&error.field),
                ..error
            });
            refused.extend(faults(errors.collect()));
            Err(refused)
        }
    };
    Entry {
        place: Some(place),
        object: object.filter(|_| !ambiguous),
        written,
        outcome,
        pod: pod.filter(|_| !ambiguous).map(|pod| nobody(*pod)),
        oddities,
        field,
        text: Arc::clone(text),
    }
}

/// Why an object is refused for an oddity.
fn fault(strange: Strange) -> Fault {
    let Strange {
        field,
        line,
        oddity,
    } = strange;
    Fault {
        field,
        problem: match oddity {
            yaml::Oddity::Twice => convert::Problem::Twice.into(),
            other => other.into(),
        },
        line: Some(line),
    }
}
