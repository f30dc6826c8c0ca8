//! What is wrong, or probably not meant, in a set of manifests.
//!
//! Pure: files in, findings out. Errors are exactly what the manifest source refuses; warnings are
//! about manifests that are accepted and do something else than their author thinks.

mod cluster;
mod dns;
mod peers;
mod subject;
mod written;

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use crate::{
    convert::{self, Field, Object},
    source::{
        Place, Problem, Refusal,
        manifests::{Entry, File, Manifests},
    },
    text::Printable,
};

pub use subject::Subject;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The object is refused.
    Error,
    /// The object is accepted, and may not do what was meant.
    Warning,
    /// Worth knowing.
    Notice,
}

impl Severity {
    /// In one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

/// Something to say about a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: Arc<str>,
    /// Where in the file; `None` when it is about the whole file.
    pub place: Option<Place>,
    /// The object, when it can be told.
    pub object: Option<Subject>,
    /// The field; empty when it is about the whole object or document.
    pub field: Field,
    /// What there is to say.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = self.severity.name();
        write!(formatter, "{severity}: {}", Printable(&self.file))?;
        if let Some(Place { document, line }) = self.place {
            write!(formatter, ":{line}: document {document}")?;
        }
        formatter.write_str(": ")?;
        if let Some(object) = &self.object {
            write!(formatter, "{}: ", Printable(object))?;
        }
        if !self.field.as_str().is_empty() {
            write!(formatter, "{}: ", Printable(&self.field))?;
        }
        write!(formatter, "{}", Printable(&self.message))?;
        match &self.hint {
            Some(hint) => write!(formatter, "\n    {}", Printable(hint)),
            None => Ok(()),
        }
    }
}

/// An accepted entry of one of the files.
struct Accepted<'a> {
    file: &'a Arc<str>,
    entry: &'a Entry,
    object: &'a Object,
}

impl Accepted<'_> {
    fn finding(&self, field: Field, message: impl Into<String>) -> Finding {
        Finding {
            severity: Severity::Warning,
            file: Arc::clone(self.file),
            place: self.entry.place_of(&field),
            object: Subject::of(self.entry),
            field,
            message: message.into(),
            hint: None,
        }
    }
}

impl Finding {
    fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// Everything there is to say about these files, in their order.
pub fn lint(files: &[(Arc<str>, File)]) -> Vec<Finding> {
    let mut manifests = Manifests::default();
    for (name, file) in files {
        manifests.replace(name, file.clone());
    }
    let mut findings: Vec<_> = manifests.refused().into_iter().filter_map(error).collect();
    let accepted: Vec<_> = files
        .iter()
        .flat_map(|(file, content)| content.entries.iter().map(move |entry| (file, entry)))
        .filter_map(|(file, entry)| {
            let object = entry.outcome.as_ref().ok()?;
            Some(Accepted {
                file,
                entry,
                object,
            })
        })
        .collect();
    for accepted in &accepted {
        findings.extend(accepted.entry.oddities.iter().map(|strange| Finding {
            place: accepted.entry.place.map(|place| Place {
                line: strange.line,
                ..place
            }),
            ..accepted.finding(strange.field.clone(), strange.oddity.to_string())
        }));
        match accepted.object {
            Object::Policy(_) => written::check(accepted, &mut findings),
            Object::Ignored { api_version, kind } => {
                let message = format!("{kind} of {api_version} has no effect here");
                let severity = if convert::is_foreign_policy(kind) {
                    Severity::Warning
                } else {
                    Severity::Notice
                };
                findings.push(Finding {
                    severity,
                    ..accepted.finding(Field::root(), message)
                });
            }
            Object::Namespace(_) | Object::Pod(_) | Object::Node(_) | Object::Service(_) => {}
        }
    }
    cluster::check(&accepted, &mut findings);
    findings.sort_by(|a, b| {
        let key = |finding: &Finding| (finding.file.clone(), finding.place);
        key(a).cmp(&key(b))
    });
    findings
}

fn error(refusal: Refusal) -> Option<Finding> {
    let (file, place) = refusal.file()?;
    let finding = Finding {
        severity: Severity::Error,
        file: Arc::clone(file),
        place,
        message: refusal.problem.to_string(),
        object: refusal.object.map(Subject::from),
        field: refusal.field,
        hint: None,
    };
    Some(match refusal.problem {
        Problem::Field(convert::Problem::Unknown) => lost_label(finding),
        Problem::Field(convert::Problem::Type {
            found: found @ ("a boolean" | "a number"),
            wanted: "a string",
        }) => finding.hint(format!("YAML takes it for {found}: put it in quotes")),
        _ => finding,
    })
}

/// What to say of an unknown field that is probably a label.
fn lost_label(finding: Finding) -> Finding {
    let field = finding.field.as_str();
    let (selector, label) = match field.rsplit_once('.').or_else(|| field.split_once("[\"")) {
        Some(parts) => parts,
        None => return finding,
    };
    let label = label.trim_end_matches("\"]").to_owned();
    if !selector.ends_with("odSelector") && !selector.ends_with("amespaceSelector") {
        return finding;
    }
    finding.hint(format!(
        "a label belongs under matchLabels: indent {label:?} one level more. As it stands, a lenient server reads a selector of everything"
    ))
}
