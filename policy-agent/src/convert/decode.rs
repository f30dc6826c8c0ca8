//! Reading JSON values: typed, with the path of whatever does not fit.
//!
//! Only what is asked for is looked at: a field that nobody asks for may say anything, except where
//! [`members`] is told which fields there are. Absent and null are the same, as they are for an API
//! server.

use serde_json::{Map, Value};

use super::{
    field::{Context, Field},
    problem::Problem,
};

/// The members of an object, whichever they are.
pub(super) fn object<'a>(
    value: Option<&'a Value>,
    field: &Field,
    context: &mut Context,
) -> Option<Option<&'a Map<String, Value>>> {
    match value {
        None | Some(Value::Null) => Some(None),
        Some(Value::Object(members)) => Some(Some(members)),
        Some(other) => {
            context.error(field, Problem::not_a(other, "an object"));
            None
        }
    }
}

/// The members of an object that has no others than the `known` ones.
pub(super) fn members<'a>(
    value: Option<&'a Value>,
    known: &[&str],
    field: &Field,
    context: &mut Context,
) -> Option<Option<&'a Map<String, Value>>> {
    let members = object(value, field, context)?;
    for name in members.into_iter().flat_map(Map::keys) {
        if !known.contains(&name.as_str()) {
            context.error(&field.child(name), Problem::Unknown);
        }
    }
    Some(members)
}

/// The items of a list.
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

/// A text.
pub(super) fn text<'a>(
    value: Option<&'a Value>,
    field: &Field,
    context: &mut Context,
) -> Option<Option<&'a str>> {
    match value {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) => Some(Some(text)),
        Some(other) => {
            context.error(field, Problem::not_a(other, "a string"));
            None
        }
    }
}

/// A truth; absent is false.
pub(super) fn flag(value: Option<&Value>, field: &Field, context: &mut Context) -> Option<bool> {
    match value {
        None | Some(Value::Null) => Some(false),
        Some(Value::Bool(flag)) => Some(*flag),
        Some(other) => {
            context.error(field, Problem::not_a(other, "a boolean"));
            None
        }
    }
}

/// A whole number, which may be written as `80.0`.
pub(super) fn integer(
    value: Option<&Value>,
    field: &Field,
    context: &mut Context,
) -> Option<Option<i64>> {
    match value {
        None | Some(Value::Null) => Some(None),
        Some(value) => match whole(value) {
            Some(number) => Some(Some(number)),
            None => {
                context.error(field, Problem::not_a(value, "a whole number"));
                None
            }
        },
    }
}

/// A number without a fraction.
pub(super) fn whole(value: &Value) -> Option<i64> {
    let as_float = || {
        let number = value.as_f64()?;
        let is_whole = number.fract() == 0.0 && number.abs() < 9e15;
        #[expect(clippy::cast_possible_truncation, reason = "whole and small")]
        let number = number as i64;
        is_whole.then_some(number)
    };
    value.as_i64().or_else(as_float)
}

/// A map of texts, such as labels. A null value is an empty text.
pub(super) fn texts<'a>(
    value: Option<&'a Value>,
    field: &Field,
    context: &mut Context,
) -> Option<Vec<(&'a str, &'a str)>> {
    let members = object(value, field, context)?;
    context.whole(|context| {
        let mut texts = Vec::new();
        for (key, value) in members.into_iter().flatten() {
            if let Some(text) = text(Some(value), &field.child(key), context) {
                texts.push((key.as_str(), text.unwrap_or_default()));
            }
        }
        Some(texts)
    })
}
