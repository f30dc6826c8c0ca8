//! The API server as a source, against a real one. The tests are run by `cargo xtask test-kube`: they
//! need a control plane, which takes long to build.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod deployed;
mod events;
mod follower;
mod nodes;
mod silence;
mod traps;

use std::time::Duration;

use follower::{Follower, known_to};
use http::Method;
use policy_cluster::{Api, ControlPlane, Etcd};
use serde_json::{Value, json};
use tempfile::TempDir;

const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces/x/networkpolicies";
const PODS: &str = "/api/v1/namespaces/x/pods";
const NAMESPACES: &str = "/api/v1/namespaces";

fn start() -> (TempDir, ControlPlane) {
    let directory = tempfile::tempdir().unwrap();
    let plane = ControlPlane::start(directory.path()).unwrap();
    let api = plane.api().unwrap();
    api.must(Method::POST, NAMESPACES, Some(&named("x")))
        .unwrap();
    (directory, plane)
}

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

fn policy(name: &str, port: u16) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": "x", "name": name},
        "spec": {"podSelector": {}, "ingress": [{"ports": [{"port": port}]}]},
    })
}

/// A policy as etcd holds it.
fn stored(name: &str, spec: Value) -> (String, Value) {
    let mut object = policy(name, 80);
    object["spec"] = spec;
    object["metadata"]["uid"] = format!("uid-of-{name}").into();
    object["metadata"]["creationTimestamp"] = "2026-11-28T00:00:00Z".into();
    (format!("/registry/networkpolicies/x/{name}"), object)
}

fn pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 80}]}]},
    })
}

/// Puts policies past the server, `count` of them, called `prefix` and a number.
fn fill(etcd: &Etcd, prefix: &str, count: usize) {
    let objects: Vec<_> = (0..count)
        .map(|number| stored(&format!("{prefix}{number}"), json!({"podSelector": {}})))
        .collect();
    etcd.put(&objects).unwrap();
}

/// One change of anything, as the API has them.
fn change(api: &Api, random: &mut fastrand::Rng) {
    let name = format!("o{}", random.u8(..6));
    let label = json!({"metadata": {"labels": {"tier": format!("t{}", random.u8(..3))}}});
    // Refusals (exists already, is not there) are answers too.
    let asked = match random.u8(..9) {
        0 => api.ask(Method::POST, POLICIES, Some(&policy(&name, 80))),
        1 => {
            let spec = policy(&name, random.u16(1..9));
            api.ask(Method::PATCH, &format!("{POLICIES}/{name}"), Some(&spec))
        }
        2 => api.ask(Method::DELETE, &format!("{POLICIES}/{name}"), None),
        3 => api.ask(Method::POST, PODS, Some(&pod(&name))),
        4 => api.ask(Method::PATCH, &format!("{PODS}/{name}"), Some(&label)),
        5 => {
            let address = format!("10.0.0.{}", random.u8(1..200));
            let phase = ["Pending", "Running", "Succeeded", "Failed"][random.usize(..4)];
            let status = json!({"status": {
                "phase": phase, "podIP": address, "podIPs": [{"ip": address}],
            }});
            api.ask(
                Method::PATCH,
                &format!("{PODS}/{name}/status"),
                Some(&status),
            )
        }
        6 => {
            let path = format!("{PODS}/{name}?gracePeriodSeconds=0");
            api.ask(Method::DELETE, &path, None)
        }
        7 => api.ask(Method::POST, NAMESPACES, Some(&named(&name))),
        _ => api.ask(Method::PATCH, &format!("{NAMESPACES}/{name}"), Some(&label)),
    };
    asked.unwrap();
}

#[test]
#[ignore = "needs a control plane: cargo xtask test-kube"]
fn what_is_known_is_what_the_server_has_after_any_changes() {
    let (_directory, plane) = start();
    let follower = Follower::start(&plane);
    let api = plane.api().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..8 {
        for _ in 0..30 {
            change(&api, &mut random);
        }
        follower.wait_for(&known_to(&api));
    }
}

#[test]
#[ignore = "needs a control plane: cargo xtask test-kube"]
fn while_the_server_is_away_what_was_known_stays_and_afterwards_nothing_is_missed() {
    let (_directory, mut plane) = start();
    let api = plane.api().unwrap();
    api.must(Method::POST, POLICIES, Some(&policy("stays", 80)))
        .unwrap();
    api.must(Method::POST, POLICIES, Some(&policy("goes", 80)))
        .unwrap();
    let follower = Follower::start(&plane);
    let before = known_to(&api);
    follower.wait_for(&before);
    plane.kill_server().unwrap();
    follower.wait_until("the loss is said", |follower| follower.problems() == 3);
    assert_eq!(follower.known(), before);
    // What happens meanwhile is more than the server remembers when it is back.
    plane
        .etcd()
        .remove("/registry/networkpolicies/x/goes")
        .unwrap();
    fill(&plane.etcd(), "new", 50);
    plane.etcd().compact().unwrap();
    assert_eq!(follower.known(), before);
    plane.start_server().unwrap();
    let after = known_to(&plane.api().unwrap());
    assert_eq!(after.len(), before.len() - 1 + 50);
    follower.wait_for(&after);
    follower.wait_until("all is well", |follower| follower.problems() == 0);
}

#[test]
#[ignore = "needs a control plane: cargo xtask test-kube"]
fn a_source_may_begin_before_its_server() {
    let (_directory, mut plane) = start();
    plane.kill_server().unwrap();
    let follower = Follower::start(&plane);
    follower.wait_until("the loss is said", |follower| follower.problems() == 3);
    assert!(!follower.is_synced() && follower.known().is_empty());
    plane.start_server().unwrap();
    follower.wait_for(&known_to(&plane.api().unwrap()));
    assert!(follower.is_synced());
}

#[test]
#[ignore = "needs a control plane: cargo xtask test-kube"]
fn an_older_backup_leaves_no_ghosts_whether_its_versions_tell_or_not() {
    let (_directory, mut plane) = start();
    let api = plane.api().unwrap();
    for (name, port) in [("kept", 80), ("changed", 80), ("deleted", 80)] {
        api.must(Method::POST, POLICIES, Some(&policy(name, port)))
            .unwrap();
    }
    plane.back_up().unwrap();
    let follower = Follower::start(&plane);
    for is_overtaken in [false, true] {
        let api = plane.api().unwrap();
        let path = format!("{POLICIES}/changed");
        api.must(Method::PATCH, &path, Some(&policy("changed", 81)))
            .unwrap();
        api.must(Method::DELETE, &format!("{POLICIES}/deleted"), None)
            .unwrap();
        for name in ["ghost1", "ghost2", "ghost3"] {
            api.must(Method::POST, POLICIES, Some(&policy(name, 80)))
                .unwrap();
        }
        follower.wait_for(&known_to(&api));
        plane
            .restore(|etcd| {
                // By the time that anybody asks, it is further on than it was.
                if is_overtaken {
                    for _ in 0..60 {
                        fill(etcd, "later", 5);
                    }
                }
                Ok(())
            })
            .unwrap();
        let after = known_to(&plane.api().unwrap());
        assert!(after.keys().any(|key| key.contains("deleted")), "{after:?}");
        assert!(!after.keys().any(|key| key.contains("ghost")), "{after:?}");
        follower.wait_for(&after);
    }
}

#[test]
#[ignore = "needs a control plane: cargo xtask test-kube"]
fn what_no_server_takes_any_more_is_read_where_it_is_stored() {
    let (_directory, plane) = start();
    let follower = Follower::start(&plane);
    let block = |cidr: &str| json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": cidr}}]}]});
    let objects = [
        stored("host-bits", block("10.0.0.7/8")),
        stored("no-types", json!({"podSelector": {}})),
        stored("nothing", json!({})),
    ];
    plane.etcd().put(&objects).unwrap();
    let api = plane.api().unwrap();
    let after = known_to(&api);
    assert_eq!(
        after.keys().filter(|key| key.starts_with("policy")).count(),
        3
    );
    follower.wait_for(&after);
    let host_bits = &follower.known()["policy x/host-bits"];
    assert!(host_bits.contains("10.0.0.0/8"), "{host_bits}");
}

#[test]
#[ignore = "needs a control plane: cargo xtask test-kube"]
fn a_change_is_told_at_once_and_what_changes_nothing_is_not() {
    let (_directory, plane) = start();
    let api = plane.api().unwrap();
    api.must(Method::POST, PODS, Some(&pod("p"))).unwrap();
    let follower = Follower::start(&plane);
    follower.wait_for(&known_to(&api));
    // The first list of a kind is a batch, too, though it is empty.
    follower.wait_until("it is synced", Follower::is_synced);
    let batches = follower.batches();
    let note = json!({"metadata": {"annotations": {"note": "n"}}});
    api.must(Method::PATCH, &format!("{PODS}/p"), Some(&note))
        .unwrap();
    let mut lags = Vec::new();
    for number in 0..20 {
        let name = format!("a{number}");
        api.must(Method::POST, POLICIES, Some(&policy(&name, 80)))
            .unwrap();
        lags.push(follower.lag(&format!("policy x/{name}")));
    }
    // One batch for each policy, none for the pod's annotation.
    assert_eq!(follower.batches(), batches + 20);
    lags.sort();
    println!(
        "from the API's answer to the change: median {:?}, worst {:?}",
        lags[10], lags[19]
    );
    assert!(lags[10] < Duration::from_secs(5));
}
