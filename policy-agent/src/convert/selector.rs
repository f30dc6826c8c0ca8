//! Label selectors. Source: `ValidateLabelSelector` of `k8s.io/apimachinery`.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use policy_core::model::{Requirement, Selector};
use thiserror::Error;

use super::{
    field::{Context, Field},
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
pub(super) fn selector(
    selector: &LabelSelector,
    field: &Field,
    context: &mut Context,
) -> Option<Selector> {
    context.whole(|context| {
        let labels = field.child("matchLabels");
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            let field = labels.child(key);
            if let Err(error) = name::qualified(key) {
                context.error(&field, Problem::Key(error));
            }
            if let Err(error) = name::label_value(value) {
                context.error(&field, Problem::name(value, error));
            }
            requirements.push(Requirement::In(
                key.as_str().into(),
                vec![value.as_str().into()],
            ));
        }
        let expressions = field.child("matchExpressions");
        for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
            requirements.extend(requirement(expression, &expressions.index(index), context));
        }
        Some(Selector::new(requirements))
    })
}

fn requirement(
    expression: &LabelSelectorRequirement,
    field: &Field,
    context: &mut Context,
) -> Option<Requirement> {
    let key: Arc<str> = expression.key.as_str().into();
    if let Err(error) = name::qualified(&key) {
        context.error(&field.child("key"), Problem::name(&key, error));
    }
    let at = field.child("values");
    let values: Vec<Arc<str>> = expression
        .values
        .iter()
        .flatten()
        .map(|value| value.as_str().into())
        .collect();
    for (index, value) in values.iter().enumerate() {
        if let Err(error) = name::label_value(value) {
            context.error(&at.index(index), Problem::name(value, error));
        }
    }
    let operator = expression.operator.as_str();
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
            context.error(
                &field.child("operator"),
                InvalidSelector::Operator(other.to_owned()),
            );
            None
        }
    }
}
