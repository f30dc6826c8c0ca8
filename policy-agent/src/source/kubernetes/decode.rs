//! Decoding with a sieve: what nobody reads is skipped where it stands in the text.
//!
//! Any JSON decodes: a value of another shape than the sieve expects is kept as it is, for the
//! conversion to say what is wrong with it.

use std::fmt;

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// What of a value is kept.
#[derive(Debug)]
pub(super) enum Keep {
    /// All of it.
    Whole,
    /// These members of an object.
    Members(&'static [(&'static str, Keep)]),
    /// All items of a list, this of each.
    Items(&'static Keep),
}

/// Reads what is kept of a JSON text.
pub(super) fn decode(text: &[u8], keep: &Keep) -> Result<Value, serde_json::Error> {
    let mut decoder = serde_json::Deserializer::from_slice(text);
    let value = Sieve(keep).deserialize(&mut decoder)?;
    decoder.end()?;
    Ok(value)
}

/// Reads one line of a watch: its `type`, and what is kept of its `object`.
pub(super) fn decode_event(text: &[u8], keep: &Keep) -> Result<(String, Value), serde_json::Error> {
    let mut decoder = serde_json::Deserializer::from_slice(text);
    let event = decoder.deserialize_map(Event(keep))?;
    decoder.end()?;
    Ok(event)
}

#[derive(Clone, Copy)]
struct Sieve<'a>(&'a Keep);

impl<'de> DeserializeSeed<'de> for Sieve<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, decoder: D) -> Result<Value, D::Error> {
        match self.0 {
            Keep::Whole => Value::deserialize(decoder),
            Keep::Members(_) | Keep::Items(_) => decoder.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Sieve<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
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

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let of_each = match self.0 {
            Keep::Items(keep) => keep,
            Keep::Whole | Keep::Members(_) => &Keep::Whole,
        };
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Sieve(of_each))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let keep = match self.0 {
                Keep::Members(kept) => kept.iter().find(|(kept, _)| *kept == name),
                Keep::Whole | Keep::Items(_) => Some(&("", Keep::Whole)),
            };
            match keep {
                Some((_, keep)) => {
                    let value = members.next_value_seed(Sieve(keep))?;
                    object.insert(name, value);
                }
                None => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(object))
    }
}

struct Event<'a>(&'a Keep);

impl<'de> Visitor<'de> for Event<'_> {
    type Value = (String, Value);

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an event of a watch")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let (mut kind, mut object) = (String::new(), Value::Null);
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "type" => kind = members.next_value()?,
                // What is wrong is said in an object of another kind, which is small.
                "object" if kind.is_empty() || kind == "ERROR" => object = members.next_value()?,
                "object" => object = members.next_value_seed(Sieve(self.0))?,
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok((kind, object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::kubernetes::resource::ALL;

    #[test]
    fn of_a_pod_nothing_is_kept_that_no_policy_reads() {
        let pod = json!({
            "metadata": {
                "name": "a", "namespace": "x", "labels": {"app": "a"}, "resourceVersion": "7",
                "annotations": {"other": "b", "kubernetes.io/config.mirror": "u"},
                "managedFields": [{"fieldsV1": {"f:metadata": {}}}],
            },
            "spec": {
                "hostNetwork": false,
                "containers": [{"image": "i", "ports": [{"containerPort": 80}], "env": []}],
                "volumes": [{}],
            },
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "conditions": [{}]},
        });
        let kept = decode(pod.to_string().as_bytes(), ALL[1].keep).unwrap();
        assert_eq!(
            kept,
            json!({
                "metadata": {
                    "name": "a", "namespace": "x", "labels": {"app": "a"}, "resourceVersion": "7",
                    "annotations": {"kubernetes.io/config.mirror": "u"},
                },
                "spec": {"hostNetwork": false, "containers": [{"ports": [{"containerPort": 80}]}]},
                "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]},
            })
        );
    }

    #[test]
    fn whatever_is_json_decodes_and_what_has_another_shape_is_kept_for_the_conversion() {
        for text in [
            "null",
            "[1,-2,0.5]",
            r#"{"spec":"text","status":[true],"metadata":7}"#,
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(decode(text.as_bytes(), ALL[1].keep).unwrap(), value);
        }
        assert!(decode(b"{", ALL[1].keep).is_err());
        assert!(decode(b"{} {}", ALL[1].keep).is_err());
    }

    #[test]
    fn an_error_of_a_watch_is_read_whole() {
        let line = br#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"old"}}"#;
        let (kind, object) = decode_event(line, ALL[0].keep).unwrap();
        assert_eq!(kind, "ERROR");
        assert_eq!(object["code"], 410);
        let line = br#"{"object":{"kind":"Status","code":410},"type":"ERROR"}"#;
        assert_eq!(decode_event(line, ALL[0].keep).unwrap().1["code"], 410);
        assert!(decode_event(b"[]", ALL[0].keep).is_err());
    }
}
