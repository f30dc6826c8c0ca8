//! Label selectors. Source: `ValidateLabelSelector` of `k8s.io/apimachinery`.

use std::sync::Arc;

use policy_core::model::{Requirement, Selector};
use serde_json::Value;
use thiserror::Error;

use super::{
    decode::{items, members, text, texts},
    field::{Context, Field},
    meta::check_labels,
    name,
    problem::Problem,
};

/// A requirement that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidSelector {
    /// `In` and `NotIn` compare with values.
    #[error("must have at least one value when the operator is {0}")]
    NoValues(String),
    /// `Exists` and `DoesNotExist` compare with nothing.
    #[error("must be absent when the operator is {0}")]
    Values(String),
    /// An operator that the API does not have.
    #[error("{0:?} is not an operator (In, NotIn, Exists, DoesNotExist)")]
    Operator(String),
}

/// Reads a selector; `None` when any part of it means nothing.
pub(super) fn selector(value: &Value, field: &Field, context: &mut Context) -> Option<Selector> {
    context.whole(|context| {
        let known = ["matchLabels", "matchExpressions"];
        let members = members(Some(value), &known, field, context)?;
        let get = |name: &str| members.and_then(|members| members.get(name));
        let at = field.child("matchLabels");
        let labels = texts(get("matchLabels"), &at, context)?;
        check_labels(&labels, &at, context);
        let equal = |(key, value): (&str, &str)| Requirement::In(key.into(), vec![value.into()]);
        let mut requirements: Vec<_> = labels.into_iter().map(equal).collect();
        let at = field.child("matchExpressions");
        let expressions = items(get("matchExpressions"), &at, context)?;
        for (index, expression) in expressions.iter().enumerate() {
            requirements.extend(requirement(expression, &at.index(index), context));
        }
        Some(Selector::new(requirements))
    })
}

fn requirement(value: &Value, field: &Field, context: &mut Context) -> Option<Requirement> {
    let known = ["key", "operator", "values"];
    let expression = members(Some(value), &known, field, context)?;
    let get = |name: &str| expression.and_then(|expression| expression.get(name));
    let at = field.child("key");
    let key: Arc<str> = text(get("key"), &at, context)?.unwrap_or_default().into();
    if let Err(error) = name::qualified(&key) {
        context.error(&at, Problem::name(&key, error));
    }
    let at = field.child("values");
    let mut values: Vec<Arc<str>> = Vec::new();
    for (index, value) in items(get("values"), &at, context)?.iter().enumerate() {
        let at = at.index(index);
        let value = text(Some(value), &at, context)?.unwrap_or_default();
        if let Err(error) = name::label_value(value) {
            context.error(&at, Problem::name(value, error));
        }
        values.push(value.into());
    }
    let operator_at = field.child("operator");
    let operator = text(get("operator"), &operator_at, context)?.unwrap_or_default();
    let compares = matches!(operator, "In" | "NotIn");
    if compares && values.is_empty() {
        context.error(&at, InvalidSelector::NoValues(operator.to_owned()));
    }
    if matches!(operator, "Exists" | "DoesNotExist") && !values.is_empty() {
        context.error(&at, InvalidSelector::Values(operator.to_owned()));
    }
    match operator {
        "In" => Some(Requirement::In(key, values)),
        "NotIn" => Some(Requirement::NotIn(key, values)),
        "Exists" => Some(Requirement::Exists(key)),
        "DoesNotExist" => Some(Requirement::DoesNotExist(key)),
        other => {
            context.error(&operator_at, InvalidSelector::Operator(other.to_owned()));
            None
        }
    }
}
