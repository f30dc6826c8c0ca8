//! Servers before Kubernetes 1.31: lists of the most recent state are etcd's work there, so what the server
//! remembers is asked for, and what is older than what is known is not taken.

use super::{
    Scene, pace,
    server::{OLD, Question, Server, policy},
};

fn is_remembered(question: &Question) -> bool {
    question.query.ends_with("&resourceVersion=0")
}

#[tokio::test]
async fn an_old_server_is_asked_for_what_it_remembers_and_a_new_one_for_what_is() {
    let mut scene = Scene::start(pace()).await;
    assert!(!is_remembered(&scene.server.next_list().await));
    let mut scene = Scene::with(Server::of_version(OLD).await, pace());
    assert!(is_remembered(&scene.server.next_list().await));
}

#[tokio::test]
async fn a_memory_that_is_older_than_what_is_known_is_not_taken() {
    let mut scene = Scene::with(Server::of_version(OLD).await, pace());
    let question = scene.server.next_list().await;
    question.list("20", &[policy("a", "20", 1)]).await;
    assert_eq!(scene.changes().await.0, ["+a"]);
    let watch = scene.server.next_watch("20").await.begin().await;

    // Beside the watch.
    scene.source.reload();
    let question = scene.server.next_list().await;
    assert!(is_remembered(&question));
    question.list("10", &[]).await;
    let question = scene.server.next_list().await;
    assert!(!is_remembered(&question));
    let now = [policy("a", "20", 1), policy("b", "21", 1)];
    question.list("21", &now).await;
    assert_eq!(scene.changes().await.0, ["+b"]);

    // While none is open.
    let mut watch = watch;
    watch.part(b"no JSON\n").await;
    let question = scene.server.next_list().await;
    assert!(is_remembered(&question));
    question.list("10", &[]).await;
    let question = scene.server.next_list().await;
    assert!(!is_remembered(&question));
    question.list("30", &[policy("b", "21", 1)]).await;
    assert_eq!(scene.changes().await.0, ["-a"]);
}
