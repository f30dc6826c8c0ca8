//! Events on objects that are refused, as the shipped role may write them.

use http::Method;
use serde_json::{Value, json};

use crate::{
    NAMESPACES, POLICIES, access::Account, deployed::install, follower::Follower, named, start,
    stored,
};

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/x/events";

#[test]
#[ignore = "needs a control plane: cargo xtask test-kube"]
fn whoever_wrote_a_policy_that_cannot_be_read_sees_it_in_one_event_of_all_agents() {
    let (_directory, plane) = start();
    let api = plane.api().unwrap();
    install(&api);
    let files = tempfile::tempdir().unwrap();
    let account = Account {
        directory: files.path(),
    };
    account.write(&plane);
    // As old servers took it, and no server of today.
    let block =
        json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/99"}}]}]});
    plane.etcd().put(&[stored("odd", block)]).unwrap();
    // Two agents see it, each with its own connections.
    let followers = [account.follow(&plane), account.follow(&plane)];
    let made = || -> Vec<Value> {
        let list = api.must(Method::GET, EVENTS, None).unwrap();
        list["items"].as_array().unwrap().clone()
    };
    for follower in &followers {
        follower.wait_until("it is synced", Follower::is_synced);
        follower.wait_until("an event is there", |_| !made().is_empty());
    }
    let event = made().remove(0);
    let object = api.must(Method::GET, &format!("{POLICIES}/odd"), None);
    let object = object.unwrap();
    assert_eq!(event["regarding"]["uid"], object["metadata"]["uid"]);
    assert_eq!(event["regarding"]["name"], "odd");
    assert_eq!(event["type"], "Warning");
    let note = event["note"].as_str().unwrap();
    assert!(note.contains("10.0.0.0/99"), "{note}");
    // Readers of the older kind of events find it where the policy is.
    let path = "/api/v1/namespaces/x/events?fieldSelector=involvedObject.name%3Dodd";
    let seen = api.must(Method::GET, path, None).unwrap();
    assert_eq!(seen["items"].as_array().unwrap().len(), 1);
    // By the time that each has written of another object, nobody has written of this one again.
    let block =
        json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "nowhere"}}]}]});
    plane.etcd().put(&[stored("other", block)]).unwrap();
    for follower in &followers {
        follower.wait_until("the other one is written of", |_| made().len() >= 2);
    }
    api.must(Method::POST, NAMESPACES, Some(&named("after")))
        .unwrap();
    for follower in &followers {
        follower.lag("namespace after");
    }
    let mut names: Vec<_> = made()
        .iter()
        .map(|event| event["regarding"]["name"].to_string())
        .collect();
    names.sort();
    assert_eq!(names, ["\"odd\"", "\"other\""]);
}
