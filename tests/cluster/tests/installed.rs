//! The agent as it is shipped, on nodes with a kubelet, containerd, a bridge and kube-proxy. The tests are
//! run by `cargo xtask test-kube`: they need programs that take long to build, an image, and root.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::Path,
    slice,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use http::Method;
use policy_cluster::{Api, Cluster, Pod, deployment, matrix, target};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Of the server; what a killed run left on it is removed.
const PORT: u16 = 16463;
/// Where the image is: `cargo xtask test-kube` says so.
const IMAGE: &str = "POLICY_AGENT_IMAGE";
const PATIENCE: Duration = Duration::from_secs(60);
const PODS: [Pod; 4] = [
    pod("x", "a", "a", 0),
    pod("x", "b", "b", 0),
    pod("x", "c", "c", 1),
    pod("y", "a", "a", 1),
];

const fn pod(namespace: &'static str, name: &'static str, app: &'static str, node: usize) -> Pod {
    Pod {
        namespace,
        name,
        app,
        node,
        ports: &[80, 81],
    }
}

/// What everybody reaches while nothing is enforced.
const OPEN: [[&str; 4]; 4] = [
    [".. ..", "80 81", "80 81", "80 81"],
    ["80 81", ".. ..", "80 81", "80 81"],
    ["80 81", "80 81", ".. ..", "80 81"],
    ["80 81", "80 81", "80 81", ".. .."],
];

struct Lab {
    cluster: Cluster,
    api: Api,
    addresses: Vec<Vec<String>>,
    _directory: TempDir,
}

impl Lab {
    /// A cluster with the pods, and without the agent, whose image is there.
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_cluster"));
        let cluster = Cluster::start(directory.path(), PORT, program).unwrap();
        let image = std::env::var(IMAGE).expect("cargo xtask test-kube names the image");
        cluster.import(Path::new(&image)).unwrap();
        let api = cluster.api().unwrap();
        for name in ["x", "y"] {
            let object = json!({"metadata": {"name": name, "labels": {"team": name}}});
            api.must(Method::POST, "/api/v1/namespaces", Some(&object))
                .unwrap();
        }
        for pod in &PODS {
            pod.make(&cluster, &api).unwrap();
        }
        let addresses = PODS.iter().map(|pod| pod.wait(&cluster, &api).unwrap());
        Self {
            addresses: addresses.collect(),
            cluster,
            api,
            _directory: directory,
        }
    }

    fn policy(&self, namespace: &str, name: &str, spec: &Value) {
        let path = format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies");
        let object = json!({"metadata": {"name": name}, "spec": spec});
        self.api.must(Method::POST, &path, Some(&object)).unwrap();
    }

    fn without_policy(&self, namespace: &str, name: &str) {
        let path =
            format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/{name}");
        self.api.must(Method::DELETE, &path, None).unwrap();
    }

    fn reached(&self) -> Vec<Vec<String>> {
        matrix(&self.cluster, &PODS, &self.addresses).unwrap()
    }

    /// Connects until all is as expected, which it is soon after a change.
    fn expect(&self, what: &str, expected: &[[&str; 4]; 4]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let reached = self.reached();
            if reached
                .iter()
                .zip(expected)
                .all(|(row, expected)| row == expected)
            {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: {reached:#?}, not {expected:#?}"
            );
        }
    }
}

/// Policies of namespace x, each with what reaches what while it is the only one.
fn cases() -> [(&'static str, Value, [[&'static str; 4]; 4]); 6] {
    let app = |name: &str| json!({"podSelector": {"matchLabels": {"app": name}}});
    let team = |name: &str| json!({"namespaceSelector": {"matchLabels": {"team": name}}});
    let mut both = team("y");
    both["podSelector"] = app("a")["podSelector"].clone();
    [
        (
            "nobody comes in",
            json!({"podSelector": {}, "policyTypes": ["Ingress"]}),
            [
                [".. ..", "-- --", "-- --", "80 81"],
                ["-- --", ".. ..", "-- --", "80 81"],
                ["-- --", "-- --", ".. ..", "80 81"],
                ["-- --", "-- --", "-- --", ".. .."],
            ],
        ),
        (
            "nobody goes out",
            json!({"podSelector": {}, "policyTypes": ["Egress"]}),
            [
                [".. ..", "-- --", "-- --", "-- --"],
                ["-- --", ".. ..", "-- --", "-- --"],
                ["-- --", "-- --", ".. ..", "-- --"],
                ["80 81", "80 81", "80 81", ".. .."],
            ],
        ),
        (
            "c comes in to a, by one port",
            json!({
                "podSelector": {"matchLabels": {"app": "a"}},
                "ingress": [{"from": [app("c")], "ports": [{"port": 80}]}],
            }),
            [
                [".. ..", "80 81", "80 81", "80 81"],
                ["-- --", ".. ..", "80 81", "80 81"],
                ["80 --", "80 81", ".. ..", "80 81"],
                ["-- --", "80 81", "80 81", ".. .."],
            ],
        ),
        (
            "namespace y comes in to b",
            json!({
                "podSelector": {"matchLabels": {"app": "b"}},
                "ingress": [{"from": [team("y")]}],
            }),
            [
                [".. ..", "-- --", "80 81", "80 81"],
                ["80 81", ".. ..", "80 81", "80 81"],
                ["80 81", "-- --", ".. ..", "80 81"],
                ["80 81", "80 81", "80 81", ".. .."],
            ],
        ),
        (
            "b and c go out to a of namespace y alone, by ports from 81 on",
            json!({
                "podSelector": {"matchExpressions": [
                    {"key": "app", "operator": "In", "values": ["b", "c"]},
                ]},
                "policyTypes": ["Egress"],
                "egress": [{"to": [both], "ports": [{"port": 81, "endPort": 90}]}],
            }),
            [
                [".. ..", "80 81", "80 81", "80 81"],
                ["-- --", ".. ..", "-- --", "-- 81"],
                ["-- --", "-- --", ".. ..", "-- 81"],
                ["80 81", "80 81", "80 81", ".. .."],
            ],
        ),
        (
            "the first node's addresses come in to c",
            json!({
                "podSelector": {"matchLabels": {"app": "c"}},
                "ingress": [{"from": [
                    {"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.2.0/24"]}},
                    {"ipBlock": {"cidr": "fd10:244::/48", "except": ["fd10:244:0:2::/64"]}},
                ]}],
            }),
            [
                [".. ..", "80 81", "80 81", "80 81"],
                ["80 81", ".. ..", "80 81", "80 81"],
                ["80 81", "80 81", ".. ..", "80 81"],
                ["80 81", "80 81", "-- --", ".. .."],
            ],
        ),
    ]
}

#[test]
#[ignore = "needs nodes: cargo xtask test-kube"]
fn pods_reach_whom_the_policies_say_and_everybody_without_the_agent() {
    let lab = Lab::start();
    for (number, (_, spec, _)) in cases().iter().enumerate() {
        lab.policy("x", &format!("case-{number}"), spec);
    }
    // Nobody else enforces anything here.
    lab.expect("without the agent", &OPEN);
    for number in 0..cases().len() {
        lab.without_policy("x", &format!("case-{number}"));
    }
    lab.cluster.install_agent().unwrap();
    lab.expect("without a policy", &OPEN);
    for (what, spec, expected) in cases() {
        lab.policy("x", "the-case", &spec);
        lab.expect(what, &expected);
        lab.without_policy("x", "the-case");
    }
    lab.expect("without a policy again", &OPEN);
}

#[test]
#[ignore = "needs nodes: cargo xtask test-kube"]
fn the_daemon_set_is_replaced_without_a_gap_and_uninstalled_without_a_trace() {
    let lab = Lab::start();
    lab.cluster.install_agent().unwrap();
    let (_, spec, expected) = cases().into_iter().next().unwrap();
    lab.policy("x", "closed", &spec);
    lab.expect("with a policy", &expected);
    let [_, b, _, y] = &PODS;
    let [_, to_b, _, to_y] = &lab.addresses[..] else {
        panic!("four pods");
    };
    let is_over = AtomicBool::new(false);
    let (closed, open) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        // Whatever happens below is tried all the time, from the other node and on the same.
        for (from, address, is_open) in [
            (y, &to_b[0], false),
            (&PODS[0], &to_b[1], false),
            (b, &to_y[0], true),
        ] {
            let (is_over, cluster) = (&is_over, &lab.cluster);
            let count = if is_open { &open } else { &closed };
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let to = target(address, 80);
                    let reached = from.reached(cluster, slice::from_ref(&to)).unwrap();
                    assert_eq!(!reached.is_empty(), is_open, "from {from} to {to}");
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let over = Over(&is_over);
        for _ in 0..2 {
            let restart = ["rollout", "restart", "daemonset/policy-agent"];
            lab.cluster
                .kubectl(&[&["--namespace=kube-system"], &restart[..]].concat())
                .unwrap();
            lab.cluster.wait_for_agent().unwrap();
        }
        drop(over);
    });
    println!("tried meanwhile: {closed:?} closed, {open:?} open");
    assert!(closed.into_inner() > 5 && open.into_inner() > 5);
    lab.expect("with the next agent", &expected);
    // Taking the DaemonSet away ends no enforcement; the other one does.
    let base = deployment("kustomize");
    lab.cluster
        .kubectl(&["delete", "--kustomize", &base])
        .unwrap();
    lab.expect("without the DaemonSet", &expected);
    let uninstall = deployment("uninstall");
    lab.cluster
        .kubectl(&["apply", "--kustomize", &uninstall])
        .unwrap();
    lab.expect("uninstalled", &OPEN);
    lab.cluster
        .kubectl(&["delete", "--kustomize", &uninstall])
        .unwrap();
    for node in lab.cluster.nodes() {
        let mut list = node.command("find").unwrap();
        // Pins stand in directories; two files are the file system's own.
        list.args(["/sys/fs/bpf", "-mindepth", "1", "-type", "d"]);
        let pins = list.output().unwrap();
        assert!(pins.status.success());
        assert_eq!(String::from_utf8_lossy(&pins.stdout), "", "{}", node.name());
    }
}

/// Ends what goes on beside, also when this fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
