//! How two sets of objects differ, in words.

use std::collections::BTreeMap;

use serde_json::Value;

/// Where they differ, one line each: an object that only one has, or a field with both values. The order
/// of objects does not count, that of lists does.
#[must_use]
pub fn differences(ours: &[Value], theirs: &[Value]) -> Vec<String> {
    let mut lines = Vec::new();
    compare(&by_name(ours), &by_name(theirs), "", &mut lines);
    lines
}

/// One value with a member for each object; two of one name are a list.
fn by_name(objects: &[Value]) -> Value {
    let mut named: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for object in objects {
        let meta = &object["metadata"];
        let words = [
            &object["apiVersion"],
            &object["kind"],
            &meta["namespace"],
            &meta["name"],
        ];
        let words = words.map(|word| word.as_str().unwrap_or_default());
        named
            .entry(words.join(" "))
            .or_default()
            .push(object.clone());
    }
    let named = named.into_iter().map(|(name, mut objects)| {
        let value = match objects.len() {
            1 => objects.remove(0),
            _ => Value::Array(objects),
        };
        (name, value)
    });
    named.collect::<serde_json::Map<_, _>>().into()
}

fn compare(ours: &Value, theirs: &Value, at: &str, lines: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(one), Value::Object(other)) => {
            let more = other.keys().filter(|name| !one.contains_key(*name));
            for name in one.keys().chain(more) {
                let (one, other) = (one.get(name), other.get(name));
                let (one, other) = (one.unwrap_or(&Value::Null), other.unwrap_or(&Value::Null));
                compare(one, other, &format!("{at}/{name}"), lines);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                compare(one, other, &format!("{at}/{index}"), lines);
            }
        }
        _ if ours == theirs => {}
        _ => lines.push(format!("{at}: {ours}, {theirs}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str, words: &[&str]) -> Value {
        json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": name}, "words": words})
    }

    #[test]
    fn objects_are_compared_whatever_their_order_and_lists_as_they_stand() {
        let (a, b) = (object("a", &["x", "y"]), object("b", &[]));
        let both = [a.clone(), b.clone()];
        assert!(differences(&both, &[b.clone(), a.clone()]).is_empty());
        let other = [object("a", &["y", "x"]), b.clone()];
        let lines = differences(&both, &other);
        assert_eq!(
            lines,
            [
                r#"/v1 K  a/words/0: "x", "y""#,
                r#"/v1 K  a/words/1: "y", "x""#
            ]
        );
        assert_eq!(differences(&both, std::slice::from_ref(&a)).len(), 1);
        assert_eq!(differences(&both, &[a.clone(), b.clone(), b]).len(), 1);
        assert_eq!(differences(&[], &[a]).len(), 1);
    }
}
