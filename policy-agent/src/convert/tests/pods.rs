//! Pods.

use policy_core::model::{ContainerPort, Protocol};
use serde_json::{Value, json};

use super::errors;
use crate::convert::{Object, PodObject, strict};

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
