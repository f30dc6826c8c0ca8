//! Pods.

use policy_core::model::{ContainerPort, PodFact, Protocol};
use serde_json::{Value, json};

use super::errors;
use crate::convert::{Lenient, Object, lenient, strict};

fn pod_with(spec: Value, status: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a.b", "namespace": "x", "uid": "u", "labels": {"app": "a"}},
        "spec": spec, "status": status,
    })
}

fn pod(spec: Value, status: Value) -> PodFact {
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
        pod.ports,
        [
            port("dns", Protocol::Udp, 53),
            port("web", Protocol::Tcp, 80),
            port("web", Protocol::Tcp, 81)
        ]
    );
    assert_eq!(pod.addresses.len(), 2);
    assert_eq!(&*pod.node, "n1");
    assert_eq!(pod.started, 1_704_067_200);
    assert!(pod.running && !pod.finished);
}

#[test]
fn a_pod_that_is_being_deleted_is_one_that_ends() {
    for (time, is_terminating) in [
        (Value::Null, false),
        (json!("2026-01-01T00:00:00Z"), true),
        (json!("when the time has come"), true),
    ] {
        let mut written = pod_with(json!({}), json!({"phase": "Running"}));
        written["metadata"]["deletionTimestamp"] = time;
        let Ok(Lenient {
            object: Object::Pod(pod),
            ..
        }) = lenient(&written)
        else {
            panic!("it is a pod");
        };
        assert_eq!(pod.terminating, is_terminating);
    }
}

#[test]
fn finished_and_host_network_pods_have_no_address() {
    let ips = |phase: &str| json!({"podIPs": [{"ip": "10.0.0.1"}], "phase": phase});
    for phase in ["Succeeded", "Failed"] {
        let pod = pod(json!({}), ips(phase));
        assert!(pod.finished && pod.addresses.is_empty());
    }
    let pod = pod(json!({"hostNetwork": true}), ips("Running"));
    assert!(pod.host_network && pod.addresses.is_empty());
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
fn fields_that_no_policy_reads_are_never_looked_at() {
    let newer = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "namespace": "x", "labels": {"app": "a", "tier": null}, "shards": 3},
        "spec": {
            "containers": [{"name": 5, "newer": [], "ports": [{"containerPort": 80, "name": "web", "protocol": ""}]}],
            "initContainers": [{"restartPolicy": "OnFailure", "restartPolicyRules": [{}]}],
            "resources": {}, "volumes": "odd",
        },
        "status": {"phase": "Asleep", "resources": {}, "podIPs": [{"ip": "10.0.0.1", "zone": 1}], "startTime": []},
        "future": {},
    });
    let Ok(Object::Pod(strictly)) = strict(&newer) else {
        panic!("{:?}", strict(&newer));
    };
    assert!(!strictly.unreadable && !strictly.finished);
    assert_eq!((strictly.addresses.len(), strictly.ports.len()), (1, 1));
    assert_eq!(&*strictly.labels["tier"], "");
    let leniently = lenient(&newer).unwrap();
    assert_eq!(leniently.object, Object::Pod(strictly));
    assert_eq!(leniently.problems, []);
}

#[test]
fn a_pod_that_cannot_be_read_is_there_and_nobody() {
    for (labels, spec) in [
        (json!({"app": ["a"]}), json!({})),
        (json!("app=a"), json!({})),
        (json!({}), json!({"hostNetwork": "yes"})),
        (json!({}), json!("odd")),
    ] {
        let mut object = pod_with(spec, json!({"podIPs": [{"ip": "10.0.0.1"}]}));
        object["metadata"]["labels"] = labels;
        let Lenient {
            object: read,
            problems,
            ..
        } = lenient(&object).unwrap();
        let Object::Pod(read) = read else {
            panic!("{read:?}");
        };
        assert!(read.unreadable && !problems.is_empty(), "{object}");
        assert_eq!(read.addresses.len(), 1);
        let refused = strict(&object).unwrap_err().pod.unwrap();
        assert!(refused.unreadable && refused.labels.is_empty());
        assert_eq!(refused.addresses, read.addresses);
    }
}

#[test]
fn an_address_or_port_that_a_servers_pod_cannot_have_is_not_there() {
    let object = pod_with(
        json!({"containers": [{"ports": [{"containerPort": 0, "name": "a"}, {"containerPort": 80, "name": "web"}]}, 5]}),
        json!({"podIPs": [{"ip": "10.0.0"}, 7, {"ip": "fd00::1"}]}),
    );
    let Lenient {
        object, problems, ..
    } = lenient(&object).unwrap();
    let Object::Pod(pod) = object else {
        panic!("{object:?}");
    };
    assert!(!pod.unreadable);
    assert_eq!(
        (pod.addresses.len(), pod.ports.len(), problems.len()),
        (1, 1, 4)
    );
}

#[test]
fn a_static_pod_has_the_uid_that_its_nodes_runtime_knows() {
    let mut object = pod_with(json!({}), json!({}));
    object["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "of-the-file"});
    let Ok(Object::Pod(pod)) = strict(&object) else {
        panic!("accepted");
    };
    assert_eq!(&*pod.uid, "of-the-file");
}
