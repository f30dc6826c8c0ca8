//! Lists of objects in one document, as `kubectl get -o yaml` writes them.

use serde_json::Value;

use crate::convert::{Field, FieldError, Kind, Problem};

/// The items of a list of objects, each with its path in the document; or the object itself.
pub(super) fn expand(
    value: Value,
    field: &Field,
    into: &mut Vec<(Field, Value)>,
) -> Result<(), FieldError> {
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
            problem: Problem::Unknown,
        });
    }
    let field = field.child("items");
    let items = match members.remove("items") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(other) => {
            let problem = Problem::not_a(&other, "a list");
            return Err(FieldError { field, problem });
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
pub(super) enum ListKind {
    /// v1 List: objects of any kind.
    Any,
    /// PodList and its like.
    Of(Kind),
}

impl ListKind {
    pub(super) fn of(value: &Value) -> Option<Self> {
        let kind = value.get("kind")?.as_str()?.strip_suffix("List")?;
        if kind.is_empty() {
            return (value.get("apiVersion")?.as_str()? == "v1").then_some(Self::Any);
        }
        let named = |known: &Kind| known.name() == kind;
        Kind::ALL.into_iter().find(named).map(Self::Of)
    }
}
