//! Whole objects in both regimes.

use policy_core::model::{
    ContainerPort, PeerMatch, Peers, PolicyFact, PortMatch, Ports, Protocol, Requirement, Rule,
    Selector,
};
use serde_json::{Value, json};

use super::{Lenient, Object, PodObject, lenient, strict};

fn policy_of(spec: Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "p", "namespace": "x"},
        "spec": spec,
    })
}

fn accepted(spec: Value) -> PolicyFact {
    match strict(&policy_of(spec)) {
        Ok(Object::Policy(policy)) => policy,
        other => panic!("{other:?}"),
    }
}

/// The errors of a policy that is refused.
fn refused(spec: Value) -> Vec<String> {
    errors(&policy_of(spec))
}

fn errors(object: &Value) -> Vec<String> {
    let invalid = strict(object).expect_err("a refusal");
    invalid.errors.iter().map(ToString::to_string).collect()
}

fn read(spec: Value) -> (PolicyFact, usize) {
    match lenient(&policy_of(spec)) {
        Ok(Lenient {
            object: Object::Policy(policy),
            problems,
        }) => (policy, problems.len()),
        other => panic!("{other:?}"),
    }
}

fn peers_from(from: Value) -> Value {
    json!({"podSelector": {}, "ingress": [{"from": from}]})
}

fn ports_of(ports: Value) -> Value {
    json!({"podSelector": {}, "ingress": [{"ports": ports}]})
}

#[test]
fn policy_types_default_to_ingress_and_to_egress_when_it_has_rules() {
    let covered = |spec| {
        let policy = accepted(spec);
        (policy.ingress.is_some(), policy.egress.is_some())
    };
    assert_eq!(covered(json!({"podSelector": {}})), (true, false));
    assert_eq!(covered(json!({"egress": []})), (true, false));
    assert_eq!(covered(json!({"egress": [{}]})), (true, true));
    assert_eq!(
        covered(json!({"egress": [{}], "policyTypes": []})),
        (true, true)
    );
    assert_eq!(
        covered(json!({"egress": [{}], "policyTypes": ["Ingress"]})),
        (true, false)
    );
    assert_eq!(
        covered(json!({"ingress": [{}], "policyTypes": ["Egress"]})),
        (false, true)
    );
    assert_eq!(
        covered(json!({"policyTypes": ["Ingress", "Egress"]})),
        (true, true)
    );
}

#[test]
fn absent_null_and_empty_lists_mean_the_same() {
    let everything = Some(vec![Rule {
        peers: Peers::All,
        ports: Ports::All,
    }]);
    for rule in [
        json!({}),
        json!({"from": null, "ports": null}),
        json!({"from": [], "ports": []}),
    ] {
        assert_eq!(accepted(json!({"ingress": [rule]})).ingress, everything);
    }
    for spec in [json!({}), json!({"ingress": null}), json!({"ingress": []})] {
        assert_eq!(accepted(spec).ingress, Some(vec![]));
    }
}

#[test]
fn selectors_are_alternatives_apart_and_a_conjunction_together() {
    let label = |name: &str| json!({"matchLabels": {"app": name}});
    let policy = accepted(peers_from(json!([
        {"podSelector": label("a")},
        {"namespaceSelector": {}},
        {"podSelector": label("b"), "namespaceSelector": label("c")},
    ])));
    let select = |name: &str| Selector::new([Requirement::In("app".into(), vec![name.into()])]);
    let pods = |namespaces, pods| PeerMatch::Pods { namespaces, pods };
    assert_eq!(
        policy.ingress.unwrap()[0].peers,
        Peers::AnyOf(vec![
            pods(None, select("a")),
            pods(Some(Selector::everything()), Selector::everything()),
            pods(Some(select("c")), select("b")),
        ])
    );
}

#[test]
fn ports_take_their_defaults() {
    let policy = accepted(ports_of(json!([
        {},
        {"protocol": "SCTP"},
        {"port": 80},
        {"port": 80, "endPort": 80, "protocol": "UDP"},
        {"port": 1, "endPort": 65535},
        {"port": "http"},
    ])));
    use Protocol::{Sctp, Tcp, Udp};
    assert_eq!(
        policy.ingress.unwrap()[0].ports,
        Ports::AnyOf(vec![
            PortMatch::AnyPort(Tcp),
            PortMatch::AnyPort(Sctp),
            PortMatch::Range(Tcp, 80, 80),
            PortMatch::Range(Udp, 80, 80),
            PortMatch::Range(Tcp, 1, 65535),
            PortMatch::Named(Tcp, "http".into()),
        ])
    );
}

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
            "spec.ingress[0].from[0].ipBlock.except[0]: 10.0.0.0/8 is the whole block",
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
            "spec.ingress[0].ports[0].port: invalid type",
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
            "spec.podSelector.matchLabels.a: invalid type: integer `1`, expected a string",
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

fn pod_with(spec: Value, status: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a.b", "namespace": "x", "uid": "u", "labels": {"app": "a"}},
        "spec": spec, "status": status,
    })
}

fn pod(spec: Value, status: Value) -> PodObject {
    match strict(&pod_with(spec, status)) {
        Ok(Object::Pod(pod)) => pod,
        other => panic!("{other:?}"),
    }
}

#[test]
fn named_ports_are_those_of_containers_that_keep_running() {
    let container = |name: &str, port: u16| json!({"name": name, "ports": [{"name": "web", "containerPort": port}, {"containerPort": 1}]});
    let mut sidecar = container("sidecar", 81);
    sidecar["restartPolicy"] = json!("Always");
    let spec = json!({
        "nodeName": "n1",
        "containers": [container("main", 80), {"name": "dns", "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]}],
        "initContainers": [container("init", 82), sidecar],
    });
    let pod = pod(
        spec,
        json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "podIP": "10.0.0.1", "phase": "Running", "startTime": "2024-01-01T00:00:00Z"}),
    );
    let port = |name: &str, protocol, number| ContainerPort {
        name: name.into(),
        protocol,
        number,
    };
    assert_eq!(
        pod.fact.ports,
        [
            port("dns", Protocol::Udp, 53),
            port("web", Protocol::Tcp, 80),
            port("web", Protocol::Tcp, 81)
        ]
    );
    assert_eq!(pod.fact.addresses.len(), 2);
    assert_eq!(pod.node_name.as_deref(), Some("n1"));
    assert_eq!(pod.fact.started, 1_704_067_200);
    assert!(pod.fact.running && !pod.fact.finished);
}

#[test]
fn finished_and_host_network_pods_have_no_address() {
    let ips = |phase: &str| json!({"podIPs": [{"ip": "10.0.0.1"}], "phase": phase});
    for phase in ["Succeeded", "Failed"] {
        let pod = pod(json!({}), ips(phase));
        assert!(pod.fact.finished && pod.fact.addresses.is_empty());
    }
    let pod = pod(json!({"hostNetwork": true}), ips("Running"));
    assert!(pod.fact.host_network && pod.fact.addresses.is_empty());
}

#[test]
fn a_pod_that_cannot_be_is_refused() {
    let ports = |ports: Value| json!({"containers": [{"name": "c", "ports": ports}]});
    let cases = [
        (
            json!({}),
            json!({"podIPs": [{"ip": "10.0.0"}]}),
            "status.podIPs[0].ip: \"10.0.0\"",
        ),
        (
            json!({}),
            json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]}),
            "status.podIPs[1].ip: 10.0.0.2 is the second",
        ),
        (
            json!({}),
            json!({"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.1"}]}),
            "status.podIP: \"10.0.0.2\" is not the first",
        ),
        (
            json!({}),
            json!({"podIP": "::ffff:10.0.0.1"}),
            "status.podIP: ::ffff:10.0.0.1",
        ),
        (
            json!({}),
            json!({"phase": "running"}),
            "status.phase: \"running\"",
        ),
        (
            json!({}),
            json!({"podIps": []}),
            "status.podIps: unknown field",
        ),
        (
            json!({"containers": [{"name": "c", "port": []}]}),
            json!({}),
            "spec.containers[0].port: unknown field",
        ),
        (
            ports(json!([{"containerPort": 0}])),
            json!({}),
            "spec.containers[0].ports[0].containerPort: 0",
        ),
        (
            ports(json!([{"containerPort": 1, "protocol": "tcp"}])),
            json!({}),
            "spec.containers[0].ports[0].protocol: \"tcp\"",
        ),
        (
            ports(json!([{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}])),
            json!({}),
            "spec.containers[0].ports[1].name: \"a\" names another",
        ),
        (
            ports(json!([{"containerPort": 1, "name": "-"}])),
            json!({}),
            "spec.containers[0].ports[0].name: \"-\" must be",
        ),
    ];
    for (spec, status, expected) in cases {
        let errors = errors(&pod_with(spec, status));
        assert!(
            errors.iter().any(|error| error.starts_with(expected)),
            "{expected:?} in {errors:#?}"
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
fn services_are_checked() {
    let service = |spec| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec});
    let good = service(
        json!({"selector": {"a": "b"}, "clusterIPs": ["10.79.0.1"], "ports": [{"port": 80, "targetPort": "http"}]}),
    );
    assert!(matches!(strict(&good), Ok(Object::Service(_))));
    assert_eq!(errors(&service(json!({"ports": [{"port": 0}]}))).len(), 1);
    assert_eq!(errors(&service(json!({"clusterIPs": ["x"]}))).len(), 1);
    assert_eq!(errors(&service(json!({"port": 1}))).len(), 1);
}

/// The objects of conformance cases: everything that is applied is accepted, and admission steps
/// are decided as they say.
#[test]
fn the_objects_of_conformance_cases_are_accepted_and_refused_as_they_say() {
    let mut applied = 0;
    let mut admitted = Vec::new();
    for case in [
        include_str!("../../tests/data/cases/api-01-end-port-validation.yaml"),
        include_str!("../../tests/data/cases/005-pod-created-then-deleted.yaml"),
        include_str!(
            "../../tests/data/cases/14-a-long-exception-inside-an-ipv6-everything-block.yaml"
        ),
        include_str!(
            "../../tests/data/cases/055-ingress-pods-by-label-any-namespace-plus-pods-by-label-namespaces-by-l.yaml"
        ),
    ] {
        let options = serde_saphyr::options! { strict_booleans: true };
        let case: Value = serde_saphyr::from_str_with_options(case, options).unwrap();
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
