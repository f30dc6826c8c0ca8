//! What cannot be decoded, and lists beside a watch.

use std::{io::Write as _, time::Duration};

use flate2::{Compression, write::GzEncoder};
use serde_json::json;

use super::{
    Pace, Scene, pace,
    server::{list, policy},
};

const SOON: Duration = Duration::from_millis(200);

#[tokio::test]
async fn an_event_that_cannot_be_decoded_leads_to_a_list() {
    let (mut scene, mut watch) = Scene::synced(pace(), "1", &[]).await;
    for (number, line) in [
        "no JSON",
        r#"{"type":"ADDED","object":{"metadata":{}}}"#,
        r#"{"type":"ADDED","object":[]}"#,
        r#"{"type":"SURPRISE","object":{}}"#,
        r#"{"type":"DELETED"}"#,
    ]
    .into_iter()
    .enumerate()
    {
        watch.part(format!("{line}\n").as_bytes()).await;
        let version = (10 + number).to_string();
        let name = format!("p{number}");
        let all: Vec<_> = (0..=number)
            .map(|number| policy(&format!("p{number}"), "9", 1))
            .collect();
        scene.server.next_list().await.list(&version, &all).await;
        assert_eq!(scene.changes().await.0, [format!("+{name}")], "{line}");
        watch = scene.server.next_watch(&version).await.begin().await;
    }
}

#[tokio::test]
async fn what_came_before_an_event_that_cannot_be_read_is_told() {
    let before = [policy("gone", "1", 1)];
    let (mut scene, mut watch) = Scene::synced(pace(), "1", &before).await;
    let there = policy("there", "2", 1);
    let lines = [
        json!({"type": "ADDED", "object": there}),
        json!({"type": "DELETED", "object": policy("gone", "3", 1)}),
        json!({"type": "ADDED", "object": {"metadata": {}}}),
    ];
    let lines = lines.map(|line| format!("{line}\n"));
    watch.part(lines.concat().as_bytes()).await;
    let question = scene.server.next_list().await;
    question.list("4", &[there]).await;
    assert_eq!(scene.changes().await.0, ["+there", "-gone"]);
}

#[tokio::test]
async fn an_event_may_come_in_pieces_and_several_in_one() {
    let (mut scene, mut watch) = Scene::synced(pace(), "1", &[]).await;
    let lines: Vec<String> = ["a", "b"]
        .iter()
        .map(|name| {
            format!(
                "{}\n",
                json!({"type": "ADDED", "object": policy(name, "2", 1)})
            )
        })
        .collect();
    let text = lines.concat();
    let (first, second) = text.split_at(text.len() / 3);
    watch.part(first.as_bytes()).await;
    watch.part(second.as_bytes()).await;
    assert_eq!(scene.changes().await.0, ["+a", "+b"]);
}

#[tokio::test]
async fn everything_is_listed_again_beside_the_watch_which_knows_better_meanwhile() {
    let pace = Pace {
        relist: (SOON, SOON),
        ..pace()
    };
    let before = [
        policy("a", "10", 1),
        policy("b", "10", 1),
        policy("c", "10", 1),
    ];
    let (mut scene, mut watch) = Scene::synced(pace, "10", &before).await;
    let mut relist = scene.server.next_list().await.begin().await;
    // As it was when the list was made: c is not there, b is.
    let text = list("11", "", &[policy("a", "11", 2), policy("b", "10", 1)]).to_string();
    let (first, second) = text.split_at(text.len() / 2);
    relist.part(first.as_bytes()).await;
    watch.event("DELETED", &policy("b", "12", 1)).await;
    watch.event("MODIFIED", &policy("c", "13", 2)).await;
    let mut said = scene.changes().await.0;
    if said.len() == 1 {
        said.extend(scene.changes().await.0);
    }
    assert_eq!(said, ["-b", "+c"]);
    relist.part(second.as_bytes()).await;
    relist.end().await;
    assert_eq!(scene.changes().await.0, ["+a"]);
    watch.event("ADDED", &policy("d", "14", 1)).await;
    assert_eq!(scene.changes().await.0, ["+d"]);
}

#[tokio::test]
async fn what_no_policy_depends_on_is_no_change() {
    let (mut scene, mut watch) = Scene::synced(pace(), "1", &[policy("a", "1", 1)]).await;
    let mut annotated = policy("a", "2", 1);
    annotated["metadata"]["annotations"] = json!({"note": "seen"});
    annotated["metadata"]["managedFields"] = json!([{"manager": "somebody"}]);
    annotated["status"] = json!({"conditions": []});
    watch.event("MODIFIED", &annotated).await;
    loop {
        if let Some((changes, revision)) = scene.event().await {
            assert!(changes.is_empty(), "{changes:?}");
            // Whoever wrote it learns that it is in force.
            if revision.ends_with("NetworkPolicy@2") {
                break;
            }
        }
    }
    assert!(scene.refused.is_empty());
}

#[tokio::test]
async fn a_policy_that_becomes_unreadable_keeps_its_last_form_and_is_said() {
    let (mut scene, mut watch) = Scene::synced(pace(), "1", &[policy("a", "1", 1)]).await;
    let mut odd = policy("a", "2", 1);
    odd["spec"]["podSelector"] = json!({"matchNothing": {}});
    watch.event("MODIFIED", &odd).await;
    while scene.kept.is_empty() || scene.refused.is_empty() {
        if let Some((changes, _)) = scene.event().await {
            assert!(changes.is_empty(), "{changes:?}");
        }
    }
    // The same object under another name was never readable: it isolates and allows nothing.
    odd["metadata"]["name"] = "b".into();
    watch.event("ADDED", &odd).await;
    assert_eq!(scene.changes().await.0, ["+b"]);
    watch.event("MODIFIED", &policy("a", "3", 2)).await;
    watch.event("DELETED", &odd).await;
    while !scene.kept.is_empty() || !scene.refused.is_empty() {
        scene.event().await;
    }
}

#[tokio::test]
async fn a_packed_list_of_several_members_is_read_to_its_end() {
    let mut scene = Scene::start(pace()).await;
    let question = scene.server.next_list().await;
    assert!(
        question
            .head
            .to_lowercase()
            .contains("accept-encoding: gzip")
    );
    let items: Vec<_> = (0..50)
        .map(|n| policy(&format!("p{n:02}"), "1", 1))
        .collect();
    let text = list("1", "", &items).to_string();
    let mut answer = question.begin_with("Content-Encoding: gzip\r\n").await;
    for part in text.as_bytes().chunks(text.len() / 4) {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(part).unwrap();
        answer.part(&encoder.finish().unwrap()).await;
    }
    answer.end().await;
    assert_eq!(scene.changes().await.0.len(), 50);
}
