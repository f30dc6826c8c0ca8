//! What happens to objects of a real server that a follower may take for something else: a namespace on
//! its way out, another object under an old name, a pod that ran to its end and runs, values that nobody
//! would write, a policy as large as can be stored.

use http::Method;
use policy_cluster::Api;
use serde_json::{Value, json};

use crate::{
    NAMESPACES, PODS, POLICIES,
    follower::{Follower, known_to},
    named, pod, policy, start,
};

/// Gives a pod of namespace x a phase and an address.
fn report(api: &Api, name: &str, phase: &str, address: &str) {
    let status = json!({"status": {
        "phase": phase, "podIP": address, "podIPs": [{"ip": address}],
    }});
    let path = format!("{PODS}/{name}/status");
    api.must(Method::PATCH, &path, Some(&status)).unwrap();
}

fn remove(api: &Api, path: &str) {
    let path = format!("{path}?gracePeriodSeconds=0");
    api.must(Method::DELETE, &path, None).unwrap();
}

#[test]
#[ignore = "needs a control plane: cargo xtask test-kube"]
fn a_namespace_counts_until_it_is_gone_and_its_successor_is_another_one() {
    let (_directory, plane) = start();
    let api = plane.api().unwrap();
    let of_tier = |tier: &str| json!({"metadata": {"name": "y", "labels": {"tier": tier}}});
    api.must(Method::POST, NAMESPACES, Some(&of_tier("old")))
        .unwrap();
    let (pods, policies) = (PODS.replace("/x/", "/y/"), POLICIES.replace("/x/", "/y/"));
    let mut isolating = policy("isolates", 80);
    isolating["metadata"]["namespace"] = "y".into();
    api.must(Method::POST, &pods, Some(&pod("p"))).unwrap();
    api.must(Method::POST, &policies, Some(&isolating)).unwrap();
    let follower = Follower::start(&plane);
    let before = known_to(&api);
    follower.wait_for(&before);

    // It is there, with its labels, until all that it holds is gone: pods first, policies last.
    let path = format!("{NAMESPACES}/y");
    let ending = api.must(Method::DELETE, &path, None).unwrap();
    assert_eq!(ending["status"]["phase"], "Terminating");
    api.must(Method::POST, POLICIES, Some(&policy("marks", 80)))
        .unwrap();
    follower.wait_for(&known_to(&api));
    assert_eq!(follower.known()["namespace y"], before["namespace y"]);
    assert!(follower.known().contains_key("policy y/isolates"));
    remove(&api, &format!("{pods}/p"));
    follower.wait_for(&known_to(&api));
    assert!(follower.known().contains_key("policy y/isolates"));
    remove(&api, &format!("{policies}/isolates"));
    // As the controller of namespaces does when nothing is left.
    let mut last = api.must(Method::GET, &path, None).unwrap();
    last["spec"]["finalizers"] = json!([]);
    api.must(Method::PUT, &format!("{path}/finalize"), Some(&last))
        .unwrap();
    let known = known_to(&api);
    for key in ["namespace y", "pod y/p", "policy y/isolates"] {
        assert!(!known.contains_key(key), "{key}");
    }
    follower.wait_for(&known);

    api.must(Method::POST, NAMESPACES, Some(&of_tier("new")))
        .unwrap();
    api.must(Method::POST, &pods, Some(&pod("p"))).unwrap();
    follower.wait_for(&known_to(&api));
    let (old, new) = (&before["namespace y"], &follower.known()["namespace y"]);
    assert!(old.contains("old") && new.contains("new") && !new.contains("old"));
    assert_ne!(before["pod y/p"], follower.known()["pod y/p"]);
}

#[test]
#[ignore = "needs a control plane: cargo xtask test-kube"]
fn an_object_that_is_made_again_under_its_name_is_another_one_whoever_saw_it_go() {
    let (_directory, mut plane) = start();
    let api = plane.api().unwrap();
    api.must(Method::POST, PODS, Some(&pod("p"))).unwrap();
    report(&api, "p", "Running", "10.0.0.1");
    let follower = Follower::start(&plane);
    follower.wait_for(&known_to(&api));
    let first = follower.known()["pod x/p"].clone();

    remove(&api, &format!("{PODS}/p"));
    api.must(Method::POST, PODS, Some(&pod("p"))).unwrap();
    follower.wait_for(&known_to(&api));
    let second = follower.known()["pod x/p"].clone();
    // Another UID, and no address yet.
    assert!(
        first.contains("10.0.0.1") && !second.contains("10.0.0.1"),
        "{second}"
    );

    // While nobody can be told.
    let key = "/registry/pods/x/p";
    let mut third = api.must(Method::GET, &format!("{PODS}/p"), None).unwrap();
    third["metadata"]["uid"] = "another".into();
    plane.kill_server().unwrap();
    plane.etcd().remove(key).unwrap();
    plane.etcd().put(&[(key.to_owned(), third)]).unwrap();
    plane.start_server().unwrap();
    let now = known_to(&plane.api().unwrap());
    assert!(now["pod x/p"].contains("another"));
    follower.wait_for(&now);
}

#[test]
#[ignore = "needs a control plane: cargo xtask test-kube"]
fn a_pod_that_had_finished_counts_when_it_runs_again() {
    let (_directory, plane) = start();
    let api = plane.api().unwrap();
    api.must(Method::POST, PODS, Some(&pod("p"))).unwrap();
    let follower = Follower::start(&plane);
    for (phase, is_finished) in [("Running", false), ("Succeeded", true), ("Running", false)] {
        report(&api, "p", phase, "10.0.0.1");
        follower.wait_for(&known_to(&api));
        let fact = follower.known()["pod x/p"].clone();
        let said = format!("finished: {is_finished}");
        // One that has finished has no address any more.
        let is_its_own = fact.contains("10.0.0.1") != is_finished;
        assert!(fact.contains(&said) && is_its_own, "{fact}");
    }
}

#[test]
#[ignore = "needs a control plane: cargo xtask test-kube"]
fn odd_values_that_are_stored_hide_nothing_else() {
    let (_directory, plane) = start();
    let api = plane.api().unwrap();
    api.must(Method::POST, PODS, Some(&pod("plain"))).unwrap();
    let mut odd = api
        .must(Method::GET, &format!("{PODS}/plain"), None)
        .unwrap();
    odd["metadata"]["name"] = "odd".into();
    odd["metadata"]["uid"] = "odd".into();
    odd["metadata"]["labels"] = json!({"tier": ""});
    odd["spec"]["initContainers"] = odd["spec"]["containers"].clone();
    odd["spec"]["initContainers"][0]["restartPolicy"] = "OnFailure".into();
    odd["status"] = json!({
        "phase": "Resting", "hostIP": "nowhere", "podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}],
    });
    let block = |cidr: &str| json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": cidr}}]}]});
    let objects = [
        ("/registry/pods/x/odd".to_owned(), odd),
        crate::stored("mapped", block("::ffff:10.0.0.0/104")),
        crate::stored("zeros", block("010.000.000.001/32")),
    ];
    let follower = Follower::start(&plane);
    follower.wait_until("it is synced", Follower::is_synced);
    plane.etcd().put(&objects).unwrap();
    api.must(Method::POST, POLICIES, Some(&policy("after", 80)))
        .unwrap();
    let wanted = known_to(&api);
    follower.wait_for(&wanted);
    let fact = &wanted["pod x/odd"];
    assert!(
        fact.contains("finished: false") && fact.contains("10.0.0.9"),
        "{fact}"
    );
    for name in ["mapped", "zeros", "after"] {
        assert!(wanted.contains_key(&format!("policy x/{name}")), "{name}");
    }
}

#[test]
#[ignore = "needs a control plane: cargo xtask test-kube"]
fn the_largest_policy_that_can_be_stored_is_followed_as_any() {
    let (_directory, plane) = start();
    let api = plane.api().unwrap();
    let follower = Follower::start(&plane);
    let mut large = policy("large", 80);
    let rule = |port: usize| json!({"ports": [{"port": port + 1, "protocol": "UDP"}]});
    large["spec"]["ingress"] = (0..30_000).map(rule).collect::<Vec<Value>>().into();
    let size = large.to_string().len();
    assert!(size > 1_200_000, "{size}");
    api.must(Method::POST, POLICIES, Some(&large)).unwrap();
    let lag = follower.lag("policy x/large");
    println!("a policy of {size} bytes is known after {lag:?}");
    follower.wait_for(&known_to(&api));
    follower.reload();
    api.must(Method::POST, NAMESPACES, Some(&named("behind")))
        .unwrap();
    follower.wait_for(&known_to(&api));
    remove(&api, &format!("{POLICIES}/large"));
    follower.wait_for(&known_to(&api));
}
