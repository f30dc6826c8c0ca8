//! What cannot be read of a server's policy never allows more than the policy said.

use policy_core::model::{Peers, PolicyFact, Ports, Rule};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{accepted, policy_of};
use crate::convert::{Object, lenient, strict};

/// Sound specifications with something of everything.
fn specs() -> [Value; 4] {
    let peers = json!([
        {"podSelector": {"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "k", "operator": "NotIn", "values": ["v"]}]}},
        {"namespaceSelector": {"matchExpressions": [{"key": "k", "operator": "Exists"}]}, "podSelector": {}},
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.2.0.0/16"]}},
    ]);
    let ports = json!([
        {"port": 80}, {"port": 1, "endPort": 9, "protocol": "UDP"}, {"port": "web"}, {"protocol": "SCTP"},
    ]);
    [
        json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [{"from": peers, "ports": ports}, {}]}),
        json!({"policyTypes": ["Egress"], "egress": [{"to": peers}, {"ports": ports}]}),
        json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{"ports": ports}]}),
        json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}, "egress": [{"to": peers, "ports": ports}]}),
    ]
}

/// The pointers of all values in a value.
fn pointers(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                pointers(member, &format!("{at}/{key}"), into);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointers(item, &format!("{at}/{index}"), into);
            }
        }
        _ => {}
    }
}

/// Makes something of a specification unreadable.
fn spoil(spec: &mut Value, at: prop::sample::Index, how: usize) {
    // Nothing of these may stand anywhere in a policy.
    let junk = [json!([["newer"]]), json!(true), json!(7.5)];
    let mut all = Vec::new();
    pointers(spec, "", &mut all);
    let Some(value) = spec.pointer_mut(at.get::<String>(&all)) else {
        return;
    };
    match value {
        Value::Object(members) if how == 3 => {
            members.insert("newer".to_owned(), json!(1));
        }
        Value::Array(items) if how == 3 => items.push(json!(true)),
        value => *value = junk[how % junk.len()].clone(),
    }
}

fn is_within<T: PartialEq>(part: &[T], whole: &[T]) -> bool {
    part.iter().all(|item| whole.contains(item))
}

fn allows_no_more(part: &Rule, whole: &Rule) -> bool {
    let peers = match (&part.peers, &whole.peers) {
        (_, Peers::All) => true,
        (Peers::All, Peers::AnyOf(_)) => false,
        (Peers::AnyOf(part), Peers::AnyOf(whole)) => is_within(part, whole),
    };
    let ports = match (&part.ports, &whole.ports) {
        (_, Ports::All) => true,
        (Ports::All, Ports::AnyOf(_)) => false,
        (Ports::AnyOf(part), Ports::AnyOf(whole)) => is_within(part, whole),
    };
    peers && ports
}

fn check(read: &PolicyFact, said: &PolicyFact) -> bool {
    let directions = [(&read.ingress, &said.ingress), (&read.egress, &said.egress)];
    let rules_within = directions.iter().all(|(read, said)| match (read, said) {
        (None, None) => true,
        // No longer isolated.
        (None, Some(_)) => false,
        (Some(read), None) => read.is_empty(),
        (Some(read), Some(said)) => read
            .iter()
            .all(|part| said.iter().any(|whole| allows_no_more(part, whole))),
    });
    let has_rules = read.ingress.iter().chain(&read.egress).flatten().count() > 0;
    let everybody_and_nothing = read.subjects.matches(&Default::default()) && !has_rules;
    rules_within && (read.subjects == said.subjects || everybody_and_nothing)
}

proptest! {
    #[test]
    fn what_cannot_be_read_allows_no_more_than_was_said(
        which in 0..4_usize,
        spoilt in prop::collection::vec((any::<prop::sample::Index>(), 0..4_usize), 0..4),
    ) {
        let mut spec = specs()[which].clone();
        let said = accepted(spec.clone());
        for (at, how) in spoilt {
            spoil(&mut spec, at, how);
        }
        let object = policy_of(spec);
        let read = lenient(&object).expect("it has a name");
        let Object::Policy(policy) = &read.object else {
            panic!("{read:?}");
        };
        prop_assert!(check(policy, &said), "{policy:#?} of {object}");
        // What a strict server takes is read the same.
        match strict(&object) {
            Ok(strictly) => {
                prop_assert_eq!(strictly, read.object);
                prop_assert_eq!(read.problems, []);
            }
            Err(_) => prop_assert!(!read.problems.is_empty()),
        }
    }
}
