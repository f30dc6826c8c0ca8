//! Objects that an API server holds and that we cannot read to the end.

use policy_core::model::{Peers, PolicyFact, Ports, Selector};
use serde_json::{Value, json};

use super::{peers_from, policy_of, ports_of};
use crate::convert::{Lenient, Object, lenient};

fn read(spec: Value) -> (PolicyFact, usize) {
    match lenient(&policy_of(spec)) {
        Ok(Lenient {
            object: Object::Policy(policy),
            problems,
            ..
        }) => (policy, problems.len()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_unreadable_peer_of_a_servers_object_matches_nothing() {
    let good = json!({"podSelector": {}});
    for bad in [
        json!({}),
        json!({"serviceSelector": {}}),
        json!({"podSelector": {}, "zone": "a"}),
        json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}}),
        json!({"podSelector": {"matchFields": {}}}),
        json!({"podSelector": "all"}),
        json!({"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}),
        json!({"ipBlock": {"cidr": "10.0.0.0/40"}}),
        json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "11.0.0.0/16"]}}),
        json!({"ipBlock": {"cidr": "10.0.0.0/8", "exceptNames": ["a"]}}),
        json!(null),
        json!("all"),
    ] {
        let (policy, problems) = read(peers_from(json!([bad])));
        let rules = policy.ingress.unwrap();
        assert_eq!(rules[0].peers, Peers::AnyOf(vec![]), "{bad}");
        assert!(problems > 0, "{bad}");
        let (policy, _) = read(peers_from(json!([bad, good])));
        assert!(
            matches!(&policy.ingress.unwrap()[0].peers, Peers::AnyOf(peers) if peers.len() == 1),
            "{bad}"
        );
    }
}

#[test]
fn an_unreadable_port_of_a_servers_object_matches_nothing() {
    for bad in [
        json!({"port": 0}),
        json!({"protocol": "QUIC"}),
        json!({"port": 80, "endPort": 79}),
        json!({"endPort": 79}),
        json!({"port": 80, "direction": "odd"}),
        json!({"port": [80]}),
    ] {
        let (policy, problems) = read(ports_of(json!([bad])));
        assert_eq!(
            policy.ingress.unwrap()[0].ports,
            Ports::AnyOf(vec![]),
            "{bad}"
        );
        assert!(problems > 0, "{bad}");
    }
}

#[test]
fn an_unreadable_rule_of_a_servers_object_allows_nothing() {
    for bad in [
        json!({"from": [], "users": ["a"]}),
        json!({"from": {}}),
        json!("all"),
        json!(null),
    ] {
        let (policy, problems) = read(json!({"ingress": [bad, {}]}));
        assert_eq!(policy.ingress.unwrap().len(), 1, "{bad}");
        assert!(problems > 0, "{bad}");
    }
}

#[test]
fn an_unknown_policy_type_of_a_servers_object_counts_as_both() {
    let (policy, problems) = read(json!({"policyTypes": ["Forward"], "ingress": [{}]}));
    assert_eq!(policy.ingress.unwrap().len(), 1);
    assert_eq!(policy.egress, Some(vec![]));
    assert_eq!(problems, 1);
}

#[test]
fn an_unreadable_pod_selector_of_a_servers_object_closes_the_namespace() {
    for selector in [
        json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}),
        json!({"matchNames": ["a"]}),
        json!("all"),
    ] {
        let object = policy_of(json!({"podSelector": selector}));
        assert!(lenient(&object).unwrap().subjects_unreadable);
        let (policy, problems) = read(json!({"podSelector": selector, "ingress": [{}]}));
        assert_eq!(policy.subjects, Selector::everything());
        assert_eq!(policy.ingress, Some(vec![]));
        assert!(problems > 0);
    }
}

#[test]
fn a_servers_unknown_fields_elsewhere_change_nothing() {
    let mut object = policy_of(json!({"podSelector": {}, "ingress": [{}]}));
    object["metadata"]["shard"] = json!("a");
    object["status"] = json!({"conditions": []});
    let read = lenient(&object).unwrap();
    assert!(
        matches!(read.object, Object::Policy(policy) if policy.ingress.as_ref().is_some_and(|rules| rules.len() == 1))
    );
}
