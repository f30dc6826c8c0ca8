//! Nodes: their addresses, what they cost, and what happens where they may not be listed.

use http::Method;
use policy_cluster::Api;
use serde_json::{Value, json};

use crate::{
    PODS,
    access::Account,
    deployed::install,
    follower::{Follower, known_to},
    pod, start,
};

const NODES: &str = "/api/v1/nodes";
/// More than one page.
const MANY: usize = 600;

fn node(name: &str, addresses: &[&str]) -> Value {
    let addresses: Vec<Value> = addresses
        .iter()
        .map(|address| json!({"type": "InternalIP", "address": address}))
        .collect();
    json!({"metadata": {"name": name}, "status": {"addresses": addresses}})
}

fn put(api: &Api, name: &str, addresses: &[&str]) {
    let object = node(name, addresses);
    api.must(Method::POST, NODES, Some(&object)).unwrap();
    let path = format!("{NODES}/{name}/status");
    api.must(Method::PATCH, &path, Some(&object)).unwrap();
}

/// As a kubelet writes it: of 50 images and five conditions, some 14 kB.
fn stored(number: usize) -> (String, Value) {
    let name = format!("node-{number}.example");
    let address = format!("10.{}.{}.7", number / 256, number % 256);
    let mut object = node(&name, &[&address, &format!("2001:db8::{number:x}")]);
    object["apiVersion"] = "v1".into();
    object["kind"] = "Node".into();
    object["metadata"]["uid"] = format!("uid-of-{number}").into();
    object["metadata"]["creationTimestamp"] = "2026-11-28T00:00:00Z".into();
    let image = |index: usize| {
        let digest = format!("{:064x}", index * 7_919);
        let repository = format!("registry.example/some/team/service-{index}");
        json!({
            "names": [format!("{repository}@sha256:{digest}"), format!("{repository}:v1.{index}")],
            "sizeBytes": 10_000_000 + index,
        })
    };
    object["status"]["images"] = (0..50).map(image).collect();
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "False", "reason": format!("KubeletHasNo{kind}"),
            "message": format!("kubelet has no {kind} at this time, nor had it before"),
            "lastHeartbeatTime": "2026-11-28T00:00:00Z", "lastTransitionTime": "2026-11-28T00:00:00Z",
        })
    };
    let kinds = [
        "MemoryPressure",
        "DiskPressure",
        "PIDPressure",
        "Ready",
        "NetworkUnavailable",
    ];
    object["status"]["conditions"] = kinds.into_iter().map(condition).collect();
    (format!("/registry/minions/{name}"), object)
}

#[test]
#[ignore = "needs a control plane: cargo xtask test-kube"]
fn addresses_of_nodes_are_known_new_ones_as_soon_as_a_pod_is_there() {
    let (_directory, plane) = start();
    let api = plane.api().unwrap();
    put(&api, "one", &["192.0.2.11", "2001:db8::11"]);
    let follower = Follower::start(&plane);
    follower.wait_for(&known_to(&api));
    assert!(follower.known()["node one"].contains("2001:db8::11"));

    put(&api, "two", &["192.0.2.12"]);
    let mut there = pod("p");
    there["spec"]["nodeName"] = "two".into();
    api.must(Method::POST, PODS, Some(&there)).unwrap();
    follower.wait_for(&known_to(&api));
    assert_eq!(follower.contact("Node").lists, 1);

    api.must(Method::DELETE, &format!("{NODES}/one"), None)
        .unwrap();
    follower.reload();
    follower.wait_for(&known_to(&api));
    assert!(!follower.known().contains_key("node one"));
}

#[test]
#[ignore = "needs a control plane: cargo xtask test-kube"]
fn without_the_right_to_list_nodes_all_else_is_followed() {
    let (_directory, plane) = start();
    let api = plane.api().unwrap();
    put(&api, "one", &["192.0.2.11"]);
    install(&api);
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/policy-agent";
    let whole = api.must(Method::GET, role, None).unwrap()["rules"].clone();
    let mut less = whole.clone();
    let rules = less.as_array_mut().unwrap();
    rules.retain(|rule| rule["resources"] != json!(["nodes"]));
    api.must(Method::PATCH, role, Some(&json!({"rules": less})))
        .unwrap();
    let files = tempfile::tempdir().unwrap();
    let account = Account {
        directory: files.path(),
    };
    account.write(&plane);
    let follower = account.follow(&plane);
    follower.wait_until("it is synced", Follower::is_synced);
    let mut wanted = known_to(&api);
    assert!(wanted.remove("node one").is_some());
    follower.wait_for(&wanted);
    let refused = |follower: &Follower| {
        let problem = follower.contact("Node").problem.unwrap_or_default();
        problem.contains("403") && problem.contains("nodes is forbidden")
    };
    follower.wait_until("the refusal is said", refused);
    assert_eq!(follower.problems(), 0);

    api.must(Method::PATCH, role, Some(&json!({"rules": whole})))
        .unwrap();
    // The server takes a moment to know the role that it has.
    follower.wait_until("nodes are known", |follower| {
        follower.reload();
        std::thread::sleep(std::time::Duration::from_secs(1));
        follower.known() == known_to(&api)
    });
    assert_eq!(follower.contact("Node").problem, None);
}

#[test]
#[ignore = "needs a control plane: cargo xtask test-kube"]
fn of_many_nodes_little_is_asked_and_nothing_but_addresses_is_kept() {
    let (_directory, plane) = start();
    let objects: Vec<_> = (0..MANY).map(stored).collect();
    let size = objects[7].1.to_string().len();
    // etcd takes 1.5 MB at once.
    for some in objects.chunks(40) {
        plane.etcd().put(some).unwrap();
    }
    let api = plane.api().unwrap();
    let follower = Follower::start(&plane);
    follower.wait_for(&known_to(&api));
    let one = follower.contact("Node");
    assert_eq!((one.lists, one.objects), (1, MANY));
    // Five minutes and more, and 0.6 seconds for each.
    let longest = 420_000 + MANY as u64 * 600;
    assert_eq!(one.listed_every_ms, Some(longest));
    println!(
        "{MANY} nodes of {size} bytes: {} requests, {} bytes a list, packed",
        one.requests, one.bytes
    );
    assert!(one.bytes < (MANY * size / 4) as u64, "{one:?}");
}
