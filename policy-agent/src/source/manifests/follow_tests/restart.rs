//! What a start finds.

use std::time::Instant;

use super::*;
use crate::source::Problem;

/// The changes of the first batch, and everything that was said before it.
async fn first(source: &mut ManifestSource) -> (Vec<Change>, Vec<Event>) {
    let (changes, before, _) = first_of(source).await;
    (changes, before)
}

/// The same with the batch's revision.
async fn first_of(source: &mut ManifestSource) -> (Vec<Change>, Vec<Event>, Revision) {
    let mut before = Vec::new();
    loop {
        let event = tokio::time::timeout(DEADLINE, source.next()).await;
        match event.expect("a batch in time").unwrap() {
            Event::Batch { changes, revision } => return (changes, before, revision),
            other => before.push(other),
        }
    }
}

#[tokio::test]
async fn a_restart_goes_on_with_what_was_accepted_of_files_that_cannot_be_read_now() {
    let root = tempfile::tempdir().unwrap();
    let (state, path) = (root.path().join("state"), root.path().join("manifests"));
    fs::create_dir(&path).unwrap();
    for name in ["broken", "blank", "gone", "sound"] {
        let text = policy(name, "Ingress");
        fs::write(path.join(format!("{name}.yaml")), text).unwrap();
    }
    let mut source = ManifestSource::open(&path, Some(&state)).unwrap();
    assert_eq!(covers(&first(&mut source).await.0).len(), 4);
    // Whatever was taken is kept when it ends.
    drop(source);

    fs::write(path.join("broken.yaml"), policy("broken", "Ingres")).unwrap();
    fs::write(path.join("blank.yaml"), "").unwrap();
    fs::remove_file(path.join("gone.yaml")).unwrap();
    fs::write(path.join("sound.yaml"), policy("sound", "Egress")).unwrap();
    let mut source = ManifestSource::open(&path, Some(&state)).unwrap();
    let (changes, before) = first(&mut source).await;
    let changes = covers(&changes);
    let last = |name: &str| {
        let mut of = changes
            .iter()
            .filter(|change| change.starts_with(&format!("x/{name}:")));
        of.next_back().cloned()
    };
    assert_eq!(last("broken").as_deref(), Some("x/broken: ingress"));
    assert_eq!(last("blank").as_deref(), Some("x/blank: ingress"));
    assert_eq!(last("gone").as_deref(), Some("x/gone: gone"));
    assert_eq!(last("sound").as_deref(), Some("x/sound: egress"));
    let kept = before.iter().find_map(|event| match event {
        Event::Kept(kept) => Some(kept.iter().map(ToString::to_string).collect::<Vec<_>>()),
        _ => None,
    });
    let kept = kept.unwrap();
    assert_eq!(kept.len(), 2, "{kept:?}");
    let prefix = "blank.yaml: NetworkPolicy x/blank: its last form, accepted by an earlier run, stays in force: is empty";
    assert!(kept[0].starts_with(prefix), "{kept:?}");
    assert!(
        kept[1].starts_with("broken.yaml: NetworkPolicy x/broken: "),
        "{kept:?}"
    );
}

#[tokio::test]
async fn a_directory_that_is_away_at_the_start_leaves_in_force_what_was_accepted() {
    for in_its_place in [None, Some("a file")] {
        let root = tempfile::tempdir().unwrap();
        let (state, path) = (root.path().join("state"), root.path().join("manifests"));
        fs::create_dir(&path).unwrap();
        for name in ["a", "b"] {
            fs::write(path.join(format!("{name}.yaml")), policy(name, "Ingress")).unwrap();
        }
        let mut source = ManifestSource::open(&path, Some(&state)).unwrap();
        first(&mut source).await;
        drop(source);
        let revision = revision_of(&path).unwrap();

        let elsewhere = root.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        if let Some(text) = in_its_place {
            fs::write(&path, text).unwrap();
        }
        let mut source = ManifestSource::open(&path, Some(&state)).unwrap();
        let (changes, before, said) = first_of(&mut source).await;
        assert_eq!(covers(&changes), ["x/a: ingress", "x/b: ingress"]);
        assert_eq!(
            said, revision,
            "what is in force, not that nothing is there"
        );
        let refused = before.iter().any(|event| {
            matches!(event, Event::Refused(refused)
                if matches!(&refused[..], [one] if matches!(one.problem, Problem::Unlisted(_))))
        });
        assert!(refused, "{before:?}");
        let kept = before.iter().any(|event| {
            matches!(event, Event::Kept(kept)
                if kept.len() == 2 && kept.iter().all(|kept| kept.by_earlier_run))
        });
        assert!(kept, "{before:?}");
        assert_eq!(source.next().await.unwrap(), Event::Synced);

        // Once it is there, it counts.
        if in_its_place.is_some() {
            fs::remove_file(&path).unwrap();
        }
        fs::remove_file(elsewhere.join("b.yaml")).unwrap();
        fs::rename(&elsewhere, &path).unwrap();
        let (changes, before) = first(&mut source).await;
        assert_eq!(covers(&changes), ["x/b: gone"]);
        assert!(before.contains(&Event::Kept(Vec::new())), "{before:?}");
        drop(source);

        // Complete and empty is no failure.
        fs::remove_file(path.join("a.yaml")).unwrap();
        let mut source = ManifestSource::open(&path, Some(&state)).unwrap();
        let (changes, _) = first(&mut source).await;
        assert_eq!(
            covers(&changes).last().map(String::as_str),
            Some("x/a: gone")
        );
        assert!(
            !covers(&changes)
                .iter()
                .any(|change| change.starts_with("x/b"))
        );
    }
}

#[tokio::test]
async fn a_directory_that_is_away_and_of_which_nothing_was_accepted_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("manifests");
    let state = root.path().join("state");
    assert!(ManifestSource::open(&path, Some(&state)).is_err());
    fs::write(&path, "a file").unwrap();
    assert!(ManifestSource::open(&path, Some(&state)).is_err());
}

#[tokio::test]
async fn a_directory_that_a_file_replaces_while_it_is_followed_is_waited_for() {
    let mut followed = Followed::new(&[("a.yaml", &policy("a", "Ingress"))]).await;
    let path = followed.directory.path().to_owned();
    let elsewhere = path.with_extension("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    fs::write(&path, "").unwrap();
    let problems = followed.problems().await;
    assert!(problems[0].contains("cannot be listed"), "{problems:?}");
    fs::remove_file(&path).unwrap();
    fs::rename(&elsewhere, &path).unwrap();
    assert_eq!(followed.problems().await, [] as [String; 0]);
    followed.nothing_before("m").await;
}

#[tokio::test]
async fn a_directory_that_fills_file_by_file_is_complete_when_it_rests() {
    const FILES: usize = 12;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    fs::write(path.join("0.yaml"), policy("p0", "Ingress")).unwrap();
    let mut last = Instant::now();
    let mut source = ManifestSource::open(&path, None).unwrap();
    let writer = std::thread::spawn(move || {
        let mut longest = Duration::ZERO;
        for number in 1..FILES {
            std::thread::sleep(Duration::from_millis(50));
            let text = policy(&format!("p{number}"), "Ingress");
            fs::write(path.join(format!("{number}.yaml")), text).unwrap();
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        longest
    });
    let mut known = Vec::new();
    loop {
        let event = tokio::time::timeout(DEADLINE, source.next()).await;
        match event.unwrap().unwrap() {
            Event::Batch { changes, .. } => known.extend(covers(&changes)),
            Event::Synced => break,
            _ => {}
        }
    }
    // A writer that the machine kept from writing for long is not waited for.
    if writer.join().unwrap() < Duration::from_millis(200) {
        assert_eq!(known.len(), FILES, "{known:?}");
    }
}

#[tokio::test]
async fn a_directory_in_which_something_always_happens_is_taken_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.yaml");
    let mut source = ManifestSource::open(directory.path(), None).unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let writer = std::thread::spawn(move || {
        let pause = Duration::from_millis(50);
        let goes_on =
            || stopped.recv_timeout(pause) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        while goes_on() {
            fs::write(&path, policy("a", "Ingress")).unwrap();
        }
    });
    let synced = async { while source.next().await.unwrap() != Event::Synced {} };
    tokio::time::timeout(DEADLINE, synced).await.unwrap();
    drop(stop);
    writer.join().unwrap();
}
