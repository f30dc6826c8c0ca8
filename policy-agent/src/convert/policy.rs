//! NetworkPolicies. Source: `ValidateNetworkPolicySpec` of Kubernetes.
//!
//! Lists are walked value by value, so that one entry that cannot be read leaves the others alone.

use policy_core::model::{Peers, PolicyFact, Ports, Rule, Selector};
use serde_json::Value;
use thiserror::Error;

use super::{
    decode::{items, members},
    field::{Context, Field},
    meta::{Scope, check_metadata, meta},
    name,
    peer::peer,
    port::port,
    selector::selector,
};

/// A specification that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidPolicy {
    /// Not a direction.
    #[error("{0} is not a policy type (Ingress, Egress)")]
    PolicyType(String),
    /// There are only two.
    #[error("must not have more than two entries")]
    TooManyTypes,
    /// A null in the list of rules, which a server would take for "everything".
    #[error("is null; write {{}} for a rule that allows everything")]
    NullRule,
}

/// The directions that a policy covers.
struct Directions {
    ingress: bool,
    egress: bool,
}

impl Directions {
    const BOTH: Self = Self {
        ingress: true,
        egress: true,
    };
}

/// Reads a policy; `None` when it has no name, or (strict) whatever has been reported.
pub(super) fn policy(object: &Value, context: &mut Context) -> Option<PolicyFact> {
    let root = Field::root();
    let known = ["apiVersion", "kind", "metadata", "spec"];
    members(Some(object), &known, &root, context)?;
    if context.is_strict() {
        check_metadata(object, context);
    }
    let meta = meta(object, Scope::Namespaced, name::dns_subdomain, context)?;

    let at = root.child("spec");
    let known = ["podSelector", "policyTypes", "ingress", "egress"];
    let spec = members(object.get("spec"), &known, &at, context);
    let get = |name: &str| spec.flatten().and_then(|spec| spec.get(name));

    let ingress = rules(get("ingress"), &at.child("ingress"), "from", context);
    let egress = rules(get("egress"), &at.child("egress"), "to", context);
    let covered = match spec {
        // What cannot be read at all may be about either.
        None => Directions::BOTH,
        Some(_) => directions(
            get("policyTypes"),
            egress.as_ref().is_none_or(|rules| !rules.is_empty()),
            &at.child("policyTypes"),
            context,
        ),
    };
    let subjects = match get("podSelector") {
        None | Some(Value::Null) if spec.is_some() => Some(Selector::everything()),
        None | Some(Value::Null) => None,
        Some(value) => subjects(value, &at.child("podSelector"), context),
    };
    // Which pods are meant is not known: none of the namespace may be reached by what the rules
    // say of some of them.
    let readable = subjects.is_some();
    let rules_of = |rules: Option<Vec<Option<Rule>>>| {
        rules
            .into_iter()
            .flatten()
            .flatten()
            .filter(|_| readable)
            .collect()
    };
    Some(PolicyFact {
        name: meta.name,
        subjects: subjects.unwrap_or_else(Selector::everything),
        ingress: covered.ingress.then(|| rules_of(ingress)),
        egress: covered.egress.then(|| rules_of(egress)),
    })
}

fn subjects(value: &Value, field: &Field, context: &mut Context) -> Option<Selector> {
    selector(value, field, context)
}

/// `policyTypes` absent or empty: Ingress, and Egress if there are egress rules.
fn directions(
    value: Option<&Value>,
    has_egress_rules: bool,
    field: &Field,
    context: &mut Context,
) -> Directions {
    let Some(types) = items(value, field, context) else {
        return Directions::BOTH;
    };
    if types.is_empty() {
        return Directions {
            ingress: true,
            egress: has_egress_rules,
        };
    }
    if types.len() > 2 {
        context.error(field, InvalidPolicy::TooManyTypes);
    }
    let mut directions = Directions {
        ingress: false,
        egress: false,
    };
    for (index, value) in types.iter().enumerate() {
        match value.as_str() {
            Some("Ingress") => directions.ingress = true,
            Some("Egress") => directions.egress = true,
            _ => {
                let name = value
                    .as_str()
                    .map_or(value.to_string(), |s| format!("{s:?}"));
                context.error(&field.index(index), InvalidPolicy::PolicyType(name));
                directions = Directions::BOTH;
            }
        }
    }
    directions
}

/// Reads the rules of a direction; a rule that cannot be read is `None`, so is a list.
fn rules(
    value: Option<&Value>,
    field: &Field,
    peers: &str,
    context: &mut Context,
) -> Option<Vec<Option<Rule>>> {
    let rules = items(value, field, context)?;
    let read = rules.iter().enumerate().map(|(index, value)| {
        let field = field.index(index);
        if value.is_null() {
            context.error(&field, InvalidPolicy::NullRule);
            return None;
        }
        rule(value, &field, peers, context)
    });
    Some(read.collect())
}

fn rule(value: &Value, field: &Field, peers: &str, context: &mut Context) -> Option<Rule> {
    // An unknown field may narrow the rule: it then allows nothing. What peers and ports report
    // only takes themselves away.
    let known = [peers, "ports"];
    let sound = context.whole(|context| members(Some(value), &known, field, context));
    let from = items(value.get(peers), &field.child(peers), context)?;
    let on = items(value.get("ports"), &field.child("ports"), context)?;
    let empty = Value::Object(serde_json::Map::new());
    let rule = Rule {
        peers: if from.is_empty() {
            Peers::All
        } else {
            Peers::AnyOf(each(from, &field.child(peers), context, peer))
        },
        ports: if on.is_empty() {
            Ports::All
        } else {
            Ports::AnyOf(each(
                on,
                &field.child("ports"),
                context,
                |value, field, context| {
                    // A server takes a null for an entry without fields.
                    let value = if value.is_null() && context.is_strict() {
                        &empty
                    } else {
                        value
                    };
                    port(value, field, context)
                },
            ))
        },
    };
    sound.map(|_| rule)
}

fn each<T>(
    values: &[Value],
    field: &Field,
    context: &mut Context,
    read: impl Fn(&Value, &Field, &mut Context) -> Option<T>,
) -> Vec<T> {
    values
        .iter()
        .enumerate()
        .filter_map(|(index, value)| {
            let field = field.index(index);
            read(value, &field, context)
        })
        .collect()
}
