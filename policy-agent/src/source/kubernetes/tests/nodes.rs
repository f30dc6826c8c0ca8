//! Nodes: listed now and then, asked for by name when a pod is on one that is not known, and gone without
//! where that is not allowed.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Pace, Scene, pace, server::Server};
use crate::source::WatchStatus;

fn node(name: &str, address: &str) -> Value {
    json!({
        "metadata": {"name": name, "resourceVersion": "5", "managedFields": [{"manager": "kubelet"}]},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": address},
                {"type": "Hostname", "address": name},
            ],
            "images": [{"names": ["i"], "sizeBytes": 1}],
        },
    })
}

fn pod(name: &str, node: &str) -> Value {
    json!({
        "metadata": {"namespace": "x", "name": name, "resourceVersion": "1"},
        "spec": {"nodeName": node, "containers": []},
    })
}

impl Scene {
    /// The next changes of nodes.
    async fn nodes(&mut self) -> Vec<String> {
        loop {
            let (mut words, revision) = self.changes().await;
            // Nobody waits for versions of nodes.
            assert!(!revision.contains("Node@"), "{revision}");
            words.retain(|word| word.starts_with(['+', '-']));
            if !words.is_empty() {
                return words;
            }
        }
    }

    fn survey(&self) -> WatchStatus {
        let status = self.source.contact().status();
        let mut nodes = status.into_iter().filter(|watch| watch.kind == "Node");
        nodes.next().unwrap()
    }
}

#[tokio::test]
async fn nodes_are_listed_again_after_a_time_that_grows_with_their_number_and_never_watched() {
    let soon = Duration::from_millis(50);
    let pace = Pace {
        nodes: (soon, soon),
        each_node: 4 * soon,
        ..pace()
    };
    let mut scene = Scene::with(Server::of_nodes(Vec::new()).await, pace);
    let question = scene.server.next_list().await;
    assert_eq!(question.query, "limit=250");
    let both = [node("a", "192.0.2.1"), node("b", "192.0.2.2")];
    question.list("5", &both).await;
    assert_eq!(scene.nodes().await, ["+a [192.0.2.1]", "+b [192.0.2.2]"]);
    while !scene.synced {
        scene.event().await;
    }
    let question = scene.server.next_list().await;
    let survey = scene.survey();
    assert_eq!(survey.objects, 2);
    assert_eq!(survey.listed_every_ms, Some(450));
    assert!(!survey.to_string().contains("NOT WATCHED"), "{survey}");
    question.list("9", &[node("b", "2001:db8::2")]).await;
    assert_eq!(scene.nodes().await, ["+b [2001:db8::2]", "-a"]);
}

#[tokio::test]
async fn a_node_that_only_pods_speak_of_is_asked_for_by_its_name() {
    let on = [
        ("p1", "known"),
        ("p2", "new.example"),
        ("p3", "new.example"),
        ("p4", "a,b=c"),
        ("p5", "nowhere"),
    ];
    let pods = on.map(|(name, node)| pod(name, node)).to_vec();
    let mut scene = Scene::with(Server::of_nodes(pods).await, pace());
    let question = scene.server.next_list().await;
    question.list("5", &[node("known", "192.0.2.1")]).await;
    assert_eq!(scene.nodes().await, ["+known [192.0.2.1]"]);
    for (query, items) in [
        ("new.example", vec![node("new.example", "192.0.2.9")]),
        ("nowhere", vec![]),
    ] {
        let question = scene.server.next().await;
        let wanted = format!("limit=250&fieldSelector=metadata.name%3D{query}");
        assert_eq!(question.query, wanted);
        question.list("6", &items).await;
    }
    assert_eq!(scene.nodes().await, ["+new.example [192.0.2.9]"]);
    assert!(scene.server.is_quiet(Duration::from_millis(300)).await);
}

#[tokio::test]
async fn whoever_may_not_list_nodes_goes_on_without_and_takes_them_when_he_may() {
    let pods = vec![pod("p1", "n")];
    let mut scene = Scene::with(Server::of_nodes(pods).await, pace());
    scene.server.next_list().await.refuse(403, "").await;
    while !scene.synced {
        scene.event().await;
    }
    let problem = scene.survey().problem.unwrap_or_default();
    assert!(problem.contains("403"), "{problem}");
    scene.source.reload();
    loop {
        let question = scene.server.next_list().await;
        // The pod's node may have been asked for by its name meanwhile.
        if question.query == "limit=250" {
            question.list("5", &[node("n", "192.0.2.1")]).await;
            break;
        }
        question.refuse(403, "").await;
    }
    assert_eq!(scene.nodes().await, ["+n [192.0.2.1]"]);
}

#[tokio::test]
async fn nodes_that_were_known_stay_while_they_may_not_be_listed_or_cannot() {
    let mut scene = Scene::with(Server::of_nodes(Vec::new()).await, pace());
    let both = [node("a", "192.0.2.1"), node("b", "192.0.2.2")];
    scene.server.next_list().await.list("5", &both).await;
    assert_eq!(scene.nodes().await.len(), 2);
    scene.source.reload();
    scene.server.next_list().await.refuse(500, "").await;
    scene.server.next_list().await.refuse(403, "").await;
    scene.source.reload();
    let now = [node("b", "192.0.2.2"), node("c", "192.0.2.3")];
    scene.server.next_list().await.list("7", &now).await;
    assert_eq!(scene.nodes().await, ["+c [192.0.2.3]", "-a"]);
    assert_eq!(scene.survey().problem, None);
}
