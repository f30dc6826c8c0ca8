//! What `deploy` has, as kubectl and helm render it, before the real server.

use http::Method;
use policy_cluster::{Api, ControlPlane};
use policy_deploy::{Helm, NAMESPACE, kustomized};
use serde_json::{Value, json};

/// What is applied by `kubectl apply --kustomize`.
const INSTALL: &str = "kustomize";
const UNINSTALL: &str = "uninstall";
/// Everything that is left out of the chart where nobody asks for it. Without values it is the kustomize base:
/// `cargo xtask lint-deploy`.
const VALUES: [&str; 7] = [
    r#"imagePullSecrets=[{"name":"registry"}]"#,
    r#"apiServer={"host":"fd00::1","port":6443}"#,
    "sysAdmin=true",
    "sysResource=true",
    r#"logLevel="debug""#,
    r#"extraArgs=["--max-endpoints=512"]"#,
    r#"tolerations=[{"operator":"Exists","effect":"NoSchedule"}]"#,
];

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
    for object in kustomized(INSTALL).unwrap() {
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
    let objects = kustomized(INSTALL).unwrap();
    let others = kustomized(UNINSTALL).unwrap();
    let chart = Helm::new().unwrap().render(&VALUES).unwrap();
    assert_eq!([objects.len(), others.len(), chart.len()], [4, 4, 4]);
    for object in objects.iter().chain(&others).chain(&chart) {
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
fn the_service_account_may_follow_three_kinds_list_nodes_make_events_and_nothing_else() {
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
    assert!(may("create", "events.k8s.io", "events"));
    for verb in ["get", "list", "watch", "update", "patch", "delete"] {
        assert!(!may(verb, "events.k8s.io", "events"), "{verb} events");
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
