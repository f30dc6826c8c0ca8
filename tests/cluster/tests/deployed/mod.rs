//! What `deploy/kustomize` and `deploy/uninstall` say, as `kubectl` renders them, before the real server.

use std::{path::Path, process::Command};

use http::Method;
use policy_cluster::{Api, ControlPlane};
use serde::Deserialize as _;
use serde_json::{Value, json};

/// Where everything is put.
pub(crate) const NAMESPACE: &str = "kube-system";

/// What is applied by `kubectl apply --kustomize`.
const INSTALL: &str = "kustomize";
const UNINSTALL: &str = "uninstall";

/// The objects that `kubectl apply --kustomize` would put there.
fn rendered(name: &str) -> Vec<Value> {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let output = Command::new("kubectl")
        .arg("kustomize")
        .arg(deploy.join(name))
        .output();
    let output = output.expect("kubectl is needed: it renders what is deployed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    serde_yaml_ng::Deserializer::from_slice(&output.stdout)
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

/// Where objects of a kind are made.
fn collection(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap();
    match kind {
        "ServiceAccount" => format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts"),
        "DaemonSet" => format!("/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets"),
        "ClusterRole" => "/apis/rbac.authorization.k8s.io/v1/clusterroles".to_owned(),
        "ClusterRoleBinding" => "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned(),
        kind => panic!("{kind}"),
    }
}

/// Puts all of it there.
pub(crate) fn install(api: &Api) {
    for object in rendered(INSTALL) {
        api.must(Method::POST, &collection(&object), Some(&object))
            .unwrap();
    }
}

/// A token of the agent's service account.
pub(crate) fn token(api: &Api) -> String {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/policy-agent/token");
    let asked = json!({"spec": {"expirationSeconds": 3600}});
    let answer = api.must(Method::POST, &path, Some(&asked)).unwrap();
    answer["status"]["token"].as_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs a control plane: cargo xtask test-kube"]
fn a_server_takes_all_that_is_deployed_to_the_letter() {
    let directory = tempfile::tempdir().unwrap();
    let plane = ControlPlane::start(directory.path()).unwrap();
    let api = plane.api().unwrap();
    let objects = rendered(INSTALL);
    let others = rendered(UNINSTALL);
    assert_eq!([objects.len(), others.len()], [4, 4]);
    for object in objects.iter().chain(&others) {
        let path = collection(object) + "?dryRun=All&fieldValidation=Strict";
        let taken = api.must(Method::POST, &path, Some(object)).unwrap();
        assert_eq!(taken["metadata"]["name"], "policy-agent");
    }
    // The check would see it: a field that there is not.
    let mut wrong = objects.last().unwrap().clone();
    assert_eq!(wrong["kind"], "DaemonSet");
    wrong["spec"]["template"]["spec"]["hostNetworks"] = true.into();
    let path = collection(&wrong) + "?dryRun=All&fieldValidation=Strict";
    let (status, answer) = api.ask(Method::POST, &path, Some(&wrong)).unwrap();
    assert_eq!(status, 400, "{answer}");
}

#[test]
#[ignore = "needs a control plane: cargo xtask test-kube"]
fn the_service_account_may_follow_three_kinds_and_list_nodes_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let plane = ControlPlane::start(directory.path()).unwrap();
    let api = plane.api().unwrap();
    install(&api);
    let may = |verb: &str, group: &str, resource: &str| {
        let asked = json!({"spec": {
            "user": format!("system:serviceaccount:{NAMESPACE}:policy-agent"),
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": {"verb": verb, "group": group, "resource": resource},
        }});
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let answer = api.must(Method::POST, path, Some(&asked)).unwrap();
        answer["status"]["allowed"].as_bool().unwrap()
    };
    let kinds = [
        ("", "namespaces"),
        ("", "pods"),
        ("networking.k8s.io", "networkpolicies"),
    ];
    for (group, resource) in kinds {
        for verb in ["list", "watch"] {
            assert!(may(verb, group, resource), "{verb} {resource}");
        }
        for verb in [
            "get",
            "create",
            "update",
            "patch",
            "delete",
            "deletecollection",
        ] {
            assert!(!may(verb, group, resource), "{verb} {resource}");
        }
    }
    assert!(may("list", "", "nodes"));
    for verb in ["get", "watch", "create", "update", "patch", "delete"] {
        assert!(!may(verb, "", "nodes"), "{verb} nodes");
    }
    for (group, resource) in [
        ("", "secrets"),
        ("", "configmaps"),
        ("", "nodes/status"),
        ("", "services"),
        ("", "events"),
        ("", "pods/log"),
        ("apps", "daemonsets"),
    ] {
        for verb in ["get", "list", "watch", "create", "delete"] {
            assert!(!may(verb, group, resource), "{verb} {resource}");
        }
    }
}
