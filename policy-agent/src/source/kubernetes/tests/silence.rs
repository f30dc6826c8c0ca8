//! Servers that do not answer, answer half, or refuse.

use std::time::Duration;

use super::{
    Pace, Scene, pace,
    server::{list, policy},
    words,
};
use crate::source::Event;

const SOON: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_list_that_never_answers_or_stops_in_its_midst_is_asked_for_again() {
    let mut scene = Scene::start(Pace {
        patience: SOON,
        ..pace()
    })
    .await;
    let mut said = Vec::new();
    let silent = scene.server.next_list().await;
    let mut half = scene.server.next_list().await.begin().await;
    let text = list("10", "", &[policy("a", "9", 1), policy("b", "10", 1)]).to_string();
    half.part(&text.as_bytes()[..text.len() - 30]).await;
    // On a busy machine the next one may be late too.
    while !scene.synced {
        tokio::select! {
            question = scene.server.next() => question.list("11", &[policy("b", "10", 1)]).await,
            event = scene.source.next() => match event.unwrap() {
                Event::Batch { changes, .. } => said.extend(words(&changes)),
                Event::Synced => scene.synced = true,
                _ => {}
            },
        }
    }
    assert_eq!(said, ["+b"]);
    drop((silent, half));
}

#[tokio::test]
async fn nothing_follows_from_half_a_list() {
    let (mut scene, mut watch) = Scene::synced(pace(), "10", &[policy("a", "10", 1)]).await;
    watch.part(b"{}\n").await;
    for is_broken_off in [true, false] {
        let mut half = scene.server.next_list().await.begin().await;
        let text = list("11", "", &[policy("b", "11", 1), policy("c", "11", 1)]).to_string();
        half.part(&text.as_bytes()[..text.len() - 5]).await;
        if !is_broken_off {
            half.end().await;
        }
    }
    let whole = [policy("a", "10", 1), policy("d", "12", 1)];
    scene.server.next_list().await.list("12", &whole).await;
    assert_eq!(scene.changes().await.0, ["+d"]);
}

#[tokio::test]
async fn a_silent_watch_is_replaced_once_the_server_has_answered_twice_and_it_has_not() {
    let pace = Pace {
        quiet: SOON,
        ..pace()
    };
    let (mut scene, silent) = Scene::synced(pace, "10", &[]).await;
    scene.server.next_probe().await.list("12", &[]).await;
    scene.server.next_probe().await.list("13", &[]).await;
    // And before the next one.
    scene.server.next_probe().await.list("13", &[]).await;
    let mut watch = scene.server.next_watch("10").await.begin().await;
    watch.event("ADDED", &policy("a", "12", 1)).await;
    assert_eq!(scene.changes().await.0, ["+a"]);
    drop(silent);
}

#[tokio::test]
async fn a_server_that_answers_nothing_is_noticed_and_said() {
    let pace = Pace {
        quiet: SOON,
        probe: SOON,
        ..pace()
    };
    let (mut scene, silent) = Scene::synced(pace, "10", &[policy("a", "10", 1)]).await;
    let unanswered = scene.server.next_probe().await;
    // The next question comes over another connection.
    let next = scene.server.next().await;
    let status = scene.source.contact().status();
    let watch = status
        .iter()
        .find(|watch| watch.kind == "NetworkPolicy")
        .unwrap();
    assert!(!watch.watching, "{watch:?}");
    assert_eq!(watch.objects, 1);
    let problem = watch.problem.as_deref().unwrap_or_default();
    assert!(problem.contains("says nothing"), "{watch:?}");
    assert!(
        watch.silent_ms.is_some_and(|silent| silent >= 100),
        "{watch:?}"
    );
    drop((silent, unanswered, next));
}

#[tokio::test]
async fn whatever_status_a_server_has_nothing_is_taken_back() {
    let (mut scene, watch) = Scene::synced(pace(), "10", &[policy("a", "10", 1)]).await;
    watch.end().await;
    for code in [429, 500, 403, 503, 401] {
        let question = scene.server.next().await;
        question.refuse(code, "").await;
    }
    // By now it is about to ask for a list, or for what leads to one.
    loop {
        let question = scene.server.next().await;
        if question.is_list() {
            question
                .list("10", &[policy("a", "10", 1), policy("b", "10", 1)])
                .await;
            break;
        }
        question.refuse(500, "").await;
    }
    assert_eq!(scene.changes().await.0, ["+b"]);
}

#[tokio::test]
async fn a_server_that_wants_to_be_left_alone_is() {
    let retry = (Duration::from_millis(2), Duration::from_secs(2));
    let mut scene = Scene::start(Pace { retry, ..pace() }).await;
    scene
        .server
        .next_list()
        .await
        .refuse(429, "Retry-After: 1\r\n")
        .await;
    assert!(scene.server.is_quiet(Duration::from_millis(700)).await);
    scene
        .server
        .next_list()
        .await
        .list("1", &[policy("a", "1", 1)])
        .await;
    assert_eq!(scene.changes().await.0, ["+a"]);
}

#[tokio::test]
async fn after_the_server_was_away_everything_is_listed_soon() {
    let pace = Pace {
        recovery: (SOON, SOON),
        ..pace()
    };
    let (mut scene, watch) = Scene::synced(pace, "10", &[policy("a", "10", 1)]).await;
    watch.end().await;
    // Restored, and further on by now than it was: no version tells.
    scene.server.next_probe().await.refuse(500, "").await;
    let watch = scene.server.next_watch("10").await.begin().await;
    scene
        .server
        .next_list()
        .await
        .list("99", &[policy("b", "7", 1)])
        .await;
    assert_eq!(scene.changes().await.0, ["+b", "-a"]);
    drop(watch);
}
