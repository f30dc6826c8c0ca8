//! The first lists, credentials, and what is asked for by hand.

use std::{fs, time::Duration};

use super::{Access, KubernetesSource, Pace, Scene, pace, server::policy};
use crate::source::kubernetes::KubernetesSourceError;

#[tokio::test]
async fn it_is_synced_only_when_every_kind_was_listed() {
    let mut scene = Scene::start(pace()).await;
    let question = scene.server.next_list().await;
    // The other kinds are listed meanwhile.
    let mut kinds = 0;
    while kinds < 2 {
        scene.event().await;
        let status = scene.source.contact().status();
        kinds = status.iter().filter(|watch| watch.lists > 0).count();
        assert!(!scene.synced);
    }
    question.list("7", &[policy("a", "7", 1)]).await;
    assert_eq!(scene.changes().await.0, ["+a"]);
    while !scene.synced {
        scene.event().await;
    }
}

#[tokio::test]
async fn credentials_that_changed_are_read_again() {
    let mut scene = Scene::start(pace()).await;
    let question = scene.server.next_list().await;
    assert!(question.head.contains("Bearer first"), "{}", question.head);
    scene.server.rewrite(&scene.kubeconfig, "second");
    question.refuse(401, "").await;
    let question = scene.server.next_list().await;
    assert!(question.head.contains("Bearer second"), "{}", question.head);
    // A file that is being replaced is no reason to end.
    fs::remove_file(scene.kubeconfig.path()).unwrap();
    question.refuse(401, "").await;
    assert!(scene.server.is_quiet(Duration::from_millis(200)).await);
    scene.server.rewrite(&scene.kubeconfig, "third");
    let question = scene.server.next_list().await;
    assert!(question.head.contains("Bearer third"), "{}", question.head);
}

#[tokio::test]
async fn everything_is_listed_again_when_somebody_asks() {
    let (mut scene, watch) = Scene::synced(pace(), "5", &[policy("a", "5", 1)]).await;
    scene.source.reload();
    scene
        .server
        .next_list()
        .await
        .list("6", &[policy("b", "6", 1)])
        .await;
    assert_eq!(scene.changes().await.0, ["+b", "-a"]);
    drop(watch);
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let mut scene = Scene::start(pace()).await;
    for _ in 0..3 {
        // Broken off before any answer.
        drop(scene.server.next_list().await);
    }
    scene
        .server
        .next_list()
        .await
        .list("1", &[policy("a", "1", 1)])
        .await;
    assert_eq!(scene.changes().await.0, ["+a"]);
}

#[test]
fn without_any_word_of_how_to_reach_a_server_nothing_begins() {
    let nowhere = Access::Kubeconfig("/nonexistent/kubeconfig".into());
    let error = KubernetesSource::open(&nowhere, Pace::default()).unwrap_err();
    assert!(matches!(error, KubernetesSourceError::Access(_)), "{error}");
}

#[test]
fn encryption_needs_nothing_that_the_process_has_not() {
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "a", "cluster": {
            "server": "https://127.0.0.1:1",
            "insecure-skip-tls-verify": true,
        }}],
        "users": [{"name": "a", "user": {"token": "t"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), config.to_string()).unwrap();
    let access = Access::Kubeconfig(file.path().to_owned());
    let source = KubernetesSource::open(&access, Pace::default()).unwrap();
    assert_eq!(source.server(), "https://127.0.0.1:1/");
}
