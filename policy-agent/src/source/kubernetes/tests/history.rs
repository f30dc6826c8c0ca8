//! Versions: restored, expired, in the future, of a server that lags.

use serde_json::json;

use super::{
    Scene, pace,
    server::{list, policy},
};

#[tokio::test]
async fn a_server_restored_from_a_backup_is_taken_whole() {
    let before = [
        policy("b", "380", 1),
        policy("c", "216", 1),
        policy("d", "227", 1),
    ];
    let (mut scene, watch) = Scene::synced(pace(), "380", &before).await;
    // It goes away, and comes back as it was earlier. A watch from 380 would say nothing for long.
    drop(watch);
    scene.server.next_probe().await.list("228", &[]).await;
    let after = [policy("a", "214", 1), policy("c", "228", 2)];
    scene.server.next_list().await.list("228", &after).await;
    // An earlier version is believed when it is said twice: one server may lag behind another.
    scene.server.next_list().await.list("228", &after).await;
    let (changes, revision) = scene.changes().await;
    assert_eq!(changes, ["+a", "+c", "-b", "-d"]);
    assert!(revision.ends_with("NetworkPolicy@228"), "{revision}");
    let mut watch = scene.server.next_watch("228").await.begin().await;
    watch.event("ADDED", &policy("f", "229", 1)).await;
    assert_eq!(scene.changes().await.0, ["+f"]);
}

#[tokio::test]
async fn a_server_that_lags_behind_another_takes_nothing_back() {
    let (mut scene, mut watch) = Scene::synced(pace(), "10", &[policy("a", "10", 1)]).await;
    watch.event("ADDED", &policy("b", "20", 1)).await;
    assert_eq!(scene.changes().await.0, ["+b"]);
    watch.part(b"no JSON\n").await;
    scene
        .server
        .next_list()
        .await
        .list("10", &[policy("a", "10", 1)])
        .await;
    let now = [
        policy("a", "10", 1),
        policy("b", "20", 1),
        policy("c", "21", 1),
    ];
    scene.server.next_list().await.list("21", &now).await;
    assert_eq!(scene.changes().await.0, ["+c"]);
}

#[tokio::test]
async fn an_expired_version_leads_to_a_list_whether_a_status_or_an_event_says_so() {
    let (mut scene, watch) = Scene::synced(pace(), "10", &[policy("a", "10", 1)]).await;
    watch.end().await;
    scene.server.next_probe().await.list("30", &[]).await;
    scene.server.next_watch("10").await.refuse(410, "").await;
    scene
        .server
        .next_list()
        .await
        .list("30", &[policy("b", "30", 1)])
        .await;
    assert_eq!(scene.changes().await.0, ["+b", "-a"]);
    let mut watch = scene.server.next_watch("30").await.begin().await;
    let status = json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"});
    watch.event("ERROR", &status).await;
    scene
        .server
        .next_list()
        .await
        .list("40", &[policy("c", "40", 1)])
        .await;
    assert_eq!(scene.changes().await.0, ["+c", "-b"]);
}

#[tokio::test]
async fn a_version_in_the_future_is_waited_for_a_few_times_and_then_listed() {
    let (mut scene, watch) = Scene::synced(pace(), "10", &[policy("a", "10", 1)]).await;
    watch.end().await;
    scene.server.next_probe().await.list("10", &[]).await;
    let status = json!({"kind": "Status", "code": 504, "message": "Too large resource version"});
    for time in 0..4 {
        let question = scene.server.next_watch("10").await;
        if time == 1 {
            question.begin().await.event("ERROR", &status).await;
        } else {
            question.refuse(504, "").await;
        }
    }
    scene
        .server
        .next_list()
        .await
        .list("12", &[policy("b", "12", 1)])
        .await;
    assert_eq!(scene.changes().await.0, ["+b", "-a"]);
}

#[tokio::test]
async fn nothing_follows_from_a_list_whose_later_pages_have_expired() {
    let (mut scene, mut watch) = Scene::synced(pace(), "10", &[policy("a", "10", 1)]).await;
    watch.event("ERROR", &json!({"code": 410})).await;
    let first = scene.server.next_list().await;
    let page = list("11", "a token+/=", &[policy("b", "11", 1)]).to_string();
    let mut answer = first.begin().await;
    answer.part(page.as_bytes()).await;
    answer.end().await;
    let second = scene.server.next().await;
    assert_eq!(second.query, "limit=100&continue=a%20token%2B%2F%3D");
    second.refuse(410, "").await;
    let again = scene.server.next_list().await;
    assert_eq!(again.query, "limit=100");
    again
        .list("12", &[policy("a", "10", 1), policy("c", "12", 1)])
        .await;
    assert_eq!(scene.changes().await.0, ["+c"]);
}

#[tokio::test]
async fn a_watch_goes_on_where_the_last_one_ended_bookmarks_included() {
    let (mut scene, mut watch) = Scene::synced(pace(), "10", &[]).await;
    let bookmark = json!({"metadata": {"resourceVersion": "50"}, "spec": {"podSelector": null}});
    watch.event("BOOKMARK", &bookmark).await;
    watch.end().await;
    scene.server.next_probe().await.list("55", &[]).await;
    let mut watch = scene.server.next_watch("50").await.begin().await;
    watch.event("ADDED", &policy("a", "56", 1)).await;
    watch.event("MODIFIED", &policy("a", "57", 2)).await;
    watch.event("DELETED", &policy("a", "58", 2)).await;
    watch.end().await;
    for change in ["+a", "+a", "-a"] {
        assert_eq!(scene.changes().await.0, [change]);
    }
    scene.server.next_probe().await.list("58", &[]).await;
    scene.server.next_watch("58").await;
}
