//! What holds for objects of every kind.

use serde_json::{Value, json};

use super::errors;
use crate::convert::{Object, lenient, strict};

#[test]
fn names_and_labels_are_checked() {
    let object = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": "P",
            "namespace": "a.b",
            "labels": {"k": "ä"},
            "annotations": {"Any/Case": "x", "/": "y"},
            "label": {},
        },
        "spec": {"podSelector": {}},
    });
    let errors = errors(&object);
    for field in [
        "metadata.name: \"P\"",
        "metadata.namespace: \"a.b\"",
        "metadata.labels.k: \"ä\"",
        "metadata.annotations[\"/\"]: the key",
        "metadata.label: unknown field",
    ] {
        assert!(
            errors.iter().any(|error| error.starts_with(field)),
            "{field} in {errors:#?}"
        );
    }
    assert_eq!(errors.len(), 5, "{errors:#?}");
}

#[test]
fn the_namespace_defaults_to_default() {
    let object = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "p"}, "spec": {},
    });
    let Ok(Object::Policy(policy)) = strict(&object) else {
        panic!("accepted");
    };
    assert_eq!(policy.name.to_string(), "default/p");
}

#[test]
fn a_policy_of_a_version_that_is_not_understood_is_an_error_and_other_kinds_are_not() {
    let object = |api_version: &str, kind: &str| json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}, "spec": {}});
    for (api_version, kind) in [
        ("networking.k8s.io/v1beta1", "NetworkPolicy"),
        ("extensions/v1beta1", "NetworkPolicy"),
        ("networking.k8s.io/v1", "Networkpolicy"),
        ("v1", "pod"),
        ("networking.k8s.io/v1", "NetworkPolicies"),
        ("v1", "namespaces"),
        ("v2", "Pod"),
        ("", "Pod"),
    ] {
        assert!(
            strict(&object(api_version, kind)).is_err(),
            "{api_version} {kind}"
        );
    }
    for (api_version, kind) in [
        ("apps/v1", "Deployment"),
        ("serving.knative.dev/v1", "Service"),
        ("v1", "ConfigMap"),
    ] {
        let converted = strict(&object(api_version, kind));
        assert!(
            matches!(converted, Ok(Object::Ignored { .. })),
            "{converted:?}"
        );
    }
}

#[test]
fn a_namespace_has_its_name_for_a_label_whatever_it_says() {
    let object = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "x", "labels": {"kubernetes.io/metadata.name": "y", "a": "b"}},
    });
    let Ok(Object::Namespace(fact)) = strict(&object) else {
        panic!("accepted");
    };
    assert_eq!(fact.labels["kubernetes.io/metadata.name"].as_ref(), "x");
    assert_eq!(fact.labels.len(), 2);
}

#[test]
fn of_a_node_its_addresses_are_read_and_names_are_not() {
    let node = |addresses| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n.example"}, "status": {"addresses": addresses}});
    let object = node(json!([
        {"type": "Hostname", "address": "10.0.0.1"},
        {"type": "InternalIP", "address": "192.0.2.1"},
        {"type": "ExternalIP", "address": "2001:db8::1"},
        {"type": "InternalDNS", "address": "n.example"},
    ]));
    let Ok(Object::Node(fact)) = strict(&object) else {
        panic!("accepted");
    };
    let addresses: Vec<_> = fact.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.0.2.1", "2001:db8::1"]);
    assert_eq!(&*fact.name, "n.example");

    let broken = node(json!([
        {"type": "InternalIP", "address": "x"},
        {"type": "InternalIP", "address": "192.0.2.1"},
    ]));
    assert_eq!(errors(&broken).len(), 1);
    let read = lenient(&broken).unwrap();
    assert!(matches!(read.object, Object::Node(fact) if fact.addresses.len() == 1));
    assert!(strict(&node(json!(null))).is_ok());
}

#[test]
fn services_are_checked() {
    let service = |spec| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec});
    let good = service(
        json!({"selector": {"a": "b"}, "clusterIPs": ["10.79.0.1"], "ports": [{"port": 80, "targetPort": "http"}]}),
    );
    assert!(matches!(strict(&good), Ok(Object::Service(_))));
    assert_eq!(errors(&service(json!({"ports": [{"port": 0}]}))).len(), 1);
    assert_eq!(errors(&service(json!({"clusterIPs": ["x"]}))).len(), 1);
    assert_eq!(
        errors(&service(
            json!({"ports": [{"port": 80, "targetPort": "80"}]})
        ))
        .len(),
        1
    );
    assert!(strict(&service(json!({"newer": 1}))).is_ok());
}

/// The objects of conformance cases: everything that is applied is accepted, and admission steps
/// are decided as they say.
#[test]
fn the_objects_of_conformance_cases_are_accepted_and_refused_as_they_say() {
    let mut applied = 0;
    let mut admitted = Vec::new();
    for case in [
        include_str!("../../../tests/data/cases/api-01-end-port-validation.yaml"),
        include_str!("../../../tests/data/cases/005-pod-created-then-deleted.yaml"),
        include_str!(
            "../../../tests/data/cases/14-a-long-exception-inside-an-ipv6-everything-block.yaml"
        ),
        include_str!(
            "../../../tests/data/cases/055-ingress-pods-by-label-any-namespace-plus-pods-by-label-namespaces-by-l.yaml"
        ),
    ] {
        let case: Value = serde_yaml_ng::from_str(case).unwrap();
        for step in case["steps"].as_array().unwrap() {
            for action in step["actions"].as_array().into_iter().flatten() {
                if let Some(object) = action.get("apply") {
                    strict(object).unwrap_or_else(|invalid| panic!("{invalid} in {object}"));
                    assert_eq!(lenient(object).unwrap().problems, []);
                    applied += 1;
                }
            }
            for request in step["admission"].as_array().into_iter().flatten() {
                let accepted = strict(&request["object"]).is_ok();
                assert_eq!(accepted, request["verdict"] == "accept", "{request}");
                admitted.push(accepted);
            }
        }
    }
    assert!(applied >= 4, "{applied}");
    assert_eq!(admitted, [false, false, false, true, true]);
}
