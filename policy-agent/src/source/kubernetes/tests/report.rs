//! Events on objects that are refused.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    Scene, pace,
    server::{DEADLINE, Server, policy},
};

/// A policy of which a rule cannot be read.
fn odd(name: &str, version: &str, block: &str) -> Value {
    let mut object = policy(name, version, 80);
    object["metadata"]["uid"] = format!("uid of {name}").into();
    object["spec"]["ingress"] = json!([{"from": [{"ipBlock": {"cidr": block}}]}]);
    object
}

impl Scene {
    /// The next event that is made.
    async fn made(&mut self) -> (String, Value) {
        let next = timeout(DEADLINE, self.server.events.recv()).await;
        next.expect("no event is made").expect("the server runs")
    }

    async fn makes_none(&mut self) -> bool {
        let pause = Duration::from_millis(300);
        timeout(pause, self.server.events.recv()).await.is_err()
    }
}

#[tokio::test]
async fn an_object_that_is_refused_has_one_event_for_each_form_that_it_takes() {
    let first = odd("a", "5", "10.0.0.0/33");
    let (mut scene, mut watch) = Scene::synced(pace(), "5", &[first]).await;
    let (path, event) = scene.made().await;
    assert_eq!(path, "/apis/events.k8s.io/v1/namespaces/x/events");
    assert_eq!(event["regarding"]["uid"], "uid of a");
    assert_eq!(event["regarding"]["kind"], "NetworkPolicy");
    let note = event["note"].as_str().unwrap();
    assert!(
        note.contains("ipBlock.cidr") && note.contains("10.0.0.0/33"),
        "{note}"
    );
    // The same again, and nothing that is refused.
    watch.event("MODIFIED", &odd("a", "6", "10.0.0.0/33")).await;
    watch.event("ADDED", &policy("b", "7", 80)).await;
    scene.changes().await;
    assert!(scene.makes_none().await);
    watch.event("MODIFIED", &odd("a", "8", "10.0.0.0/34")).await;
    let other = scene.made().await.1;
    assert_ne!(other["metadata"]["name"], event["metadata"]["name"]);
    assert!(scene.makes_none().await);
}

#[tokio::test]
async fn an_event_that_cannot_be_written_is_tried_again_and_one_that_is_there_or_may_not_be_is_not()
{
    let server = Server::refusing_events(&[500, 429, 409, 403]).await;
    let mut scene = Scene::with(server, pace());
    let objects = ["a", "b", "c"].map(|name| odd(name, "5", "nowhere"));
    scene.server.next_list().await.list("5", &objects).await;
    let mut names = Vec::new();
    for _ in 0..5 {
        names.push(scene.made().await.1["regarding"]["name"].clone());
    }
    // Refused twice, then another agent had made it; forbidden; made.
    assert_eq!(names, ["a", "a", "a", "b", "c"]);
    assert!(scene.makes_none().await);
}
