//! What manifests of policies must not say.

use serde_json::json;

use super::{peers_from, ports_of, refused};

#[test]
fn what_a_server_refuses_is_refused_with_its_field() {
    let cases = [
        (
            peers_from(json!([{}])),
            "spec.ingress[0].from[0]: must have podSelector",
        ),
        (
            peers_from(json!([{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}])),
            "spec.ingress[0].from[0]: must not have both",
        ),
        (
            peers_from(
                json!([{}, {"ipBlock": {"cidr": "192.168.0.0/16", "except": ["10.0.0.0/8"]}}]),
            ),
            "spec.ingress[0].from[1].ipBlock.except[0]: 10.0.0.0/8 is not inside 192.168.0.0/16",
        ),
        (
            peers_from(json!([{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.1.1/8"]}}])),
            "spec.ingress[0].from[0].ipBlock.except[0]: 10.1.1.1/8 has bits beyond",
        ),
        (
            peers_from(json!([{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["::/0"]}}])),
            "spec.ingress[0].from[0].ipBlock.except[0]: ::/0 is not inside 10.0.0.0/8",
        ),
        (
            peers_from(json!([{"ipBlock": {"cidr": "10.0.0.0"}}])),
            "spec.ingress[0].from[0].ipBlock.cidr: \"10.0.0.0\" is not a CIDR",
        ),
        (
            peers_from(json!([{"ipBlock": {}}])),
            "spec.ingress[0].from[0].ipBlock.cidr: must be given",
        ),
        (
            peers_from(json!([null])),
            "spec.ingress[0].from[0]: is null",
        ),
        (
            ports_of(json!([{"port": 0}])),
            "spec.ingress[0].ports[0].port: 0 is not between",
        ),
        (
            ports_of(json!([{"port": 65536}])),
            "spec.ingress[0].ports[0].port: 65536 is not",
        ),
        (
            ports_of(json!([{"port": "80"}])),
            "spec.ingress[0].ports[0].port: \"80\" must be",
        ),
        (
            ports_of(json!([{"port": 8.5}])),
            "spec.ingress[0].ports[0].port: is a number, not a whole number",
        ),
        (
            ports_of(json!([{"protocol": "tcp"}])),
            "spec.ingress[0].ports[0].protocol: \"tcp\"",
        ),
        (
            ports_of(json!([{"protocol": "ICMP"}])),
            "spec.ingress[0].ports[0].protocol: \"ICMP\"",
        ),
        (
            ports_of(json!([{"endPort": 80}])),
            "spec.ingress[0].ports[0].endPort: must be absent",
        ),
        (
            ports_of(json!([{"port": "http", "endPort": 80}])),
            "spec.ingress[0].ports[0].endPort: must be absent",
        ),
        (
            ports_of(json!([{"port": 81, "endPort": 80}])),
            "spec.ingress[0].ports[0].endPort: 80 is less than port 81",
        ),
        (
            json!({"policyTypes": ["ingress"]}),
            "spec.policyTypes[0]: \"ingress\"",
        ),
        (
            json!({"policyTypes": ["Ingress", "Egress", "Ingress"]}),
            "spec.policyTypes: must not have more than two",
        ),
        (
            json!({"ingress": [null]}),
            "spec.ingress[0]: is null; write {}",
        ),
        (
            json!({"ingress": {}}),
            "spec.ingress: is an object, not a list",
        ),
        (json!([]), "spec: is a list, not an object"),
        (
            json!({"podSelectors": {}}),
            "spec.podSelectors: unknown field",
        ),
        (
            json!({"ingress": [{"to": []}]}),
            "spec.ingress[0].to: unknown field",
        ),
        (
            json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
            "spec.podSelector.matchExpressions[0].values: must have",
        ),
        (
            json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}),
            "spec.podSelector.matchExpressions[0].values: must be absent",
        ),
        (
            json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Equals", "values": ["b"]}]}}),
            "spec.podSelector.matchExpressions[0].operator: \"Equals\"",
        ),
        (
            json!({"podSelector": {"matchExpressions": [{"operator": "Exists"}]}}),
            "spec.podSelector.matchExpressions[0].key: \"\" is empty",
        ),
        (
            json!({"podSelector": {"matchLabels": {"a b": "c"}}}),
            "spec.podSelector.matchLabels[\"a b\"]: the key must be",
        ),
        (
            json!({"podSelector": {"matchLabels": {"a": "-"}}}),
            "spec.podSelector.matchLabels.a: \"-\" must be",
        ),
        (
            json!({"podSelector": {"matchLabels": {"a": 1}}}),
            "spec.podSelector.matchLabels.a: is a number, not a string",
        ),
    ];
    for (spec, expected) in cases {
        let errors = refused(spec.clone());
        assert!(
            errors.iter().any(|error| error.starts_with(expected)),
            "{expected:?} in {errors:#?} of {spec}"
        );
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let errors = refused(json!({
        "policyTypes": ["in"],
        "podSelectors": {},
        "ingress": [{"ports": [{"port": 0}, {"port": 1, "endPort": 70000}], "form": []}],
    }));
    assert_eq!(errors.len(), 5, "{errors:#?}");
}
