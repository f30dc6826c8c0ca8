//! Reading JSON values: typed, with the path of whatever does not fit.

use k8s_openapi::serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use super::{
    field::{Context, Field},
    problem::Problem,
};

/// Decodes a value; an unknown field or a value of the wrong type is reported.
///
/// In the lenient regime the decoded value is returned although it has unknown fields: the caller
/// decides, with [`Context::whole`], whether they make it unreadable.
pub(super) fn decode<T: DeserializeOwned>(
    value: &Value,
    field: &Field,
    context: &mut Context,
) -> Option<T> {
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    let decoded =
        serde_ignored::deserialize(tracked, |path| unknown.push(ignored_field(&path, field)));
    for field in &unknown {
        context.error(field, Problem::Unknown);
    }
    decoded
        .inspect_err(|error| {
            let at = track
                .path()
                .iter()
                .fold(field.clone(), |field, segment| match segment {
                    Segment::Seq { index } => field.index(*index),
                    Segment::Map { key } => field.child(key),
                    Segment::Enum { .. } | Segment::Unknown => field,
                });
            context.error(&at, Problem::Decode(error.to_string()));
        })
        .ok()
}

/// Decodes a value in which fields that we do not know change no verdict: only manifests may not
/// have them.
pub(super) fn decode_tolerant<T: DeserializeOwned>(
    value: &Value,
    field: &Field,
    context: &mut Context,
) -> Option<T> {
    if context.is_strict() {
        return decode(value, field, context);
    }
    let mut aside = Context::lenient();
    let decoded = decode(value, field, &mut aside);
    if decoded.is_none() {
        context.extend(aside);
    }
    decoded
}

/// [`decode_tolerant`] of an optional part of an object; `None` also when it is absent or null.
pub(super) fn decode_part<T: DeserializeOwned>(
    object: &Value,
    name: &str,
    context: &mut Context,
) -> Option<T> {
    let value = object.get(name).filter(|value| !value.is_null())?;
    decode_tolerant(value, &Field::root().child(name), context)
}

fn ignored_field(path: &serde_ignored::Path<'_>, base: &Field) -> Field {
    use serde_ignored::Path;
    match path {
        Path::Root => base.clone(),
        Path::Seq { parent, index } => ignored_field(parent, base).index(*index),
        Path::Map { parent, key } => ignored_field(parent, base).child(key),
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => ignored_field(parent, base),
    }
}

/// The members of an object that has no others than the `known` ones. Absent and null are empty.
pub(super) fn members<'a>(
    value: Option<&'a Value>,
    known: &[&str],
    field: &Field,
    context: &mut Context,
) -> Option<Option<&'a Map<String, Value>>> {
    match value {
        None | Some(Value::Null) => Some(None),
        Some(Value::Object(members)) => {
            for name in members.keys() {
                if !known.contains(&name.as_str()) {
                    context.error(&field.child(name), Problem::Unknown);
                }
            }
            Some(Some(members))
        }
        Some(other) => {
            context.error(field, Problem::not_a(other, "an object"));
            None
        }
    }
}

/// The items of a list; absent and null are empty, as they are for an API server.
pub(super) fn items<'a>(
    value: Option<&'a Value>,
    field: &Field,
    context: &mut Context,
) -> Option<&'a [Value]> {
    match value {
        None | Some(Value::Null) => Some(&[]),
        Some(Value::Array(items)) => Some(items),
        Some(other) => {
            context.error(field, Problem::not_a(other, "a list"));
            None
        }
    }
}
