//! What a restart finds.

use super::*;
use crate::source::Problem;

/// The changes of the first batch, and everything that was said before it.
async fn first(source: &mut ManifestSource) -> (Vec<Change>, Vec<Event>) {
    let mut before = Vec::new();
    loop {
        let event = tokio::time::timeout(DEADLINE, source.next()).await;
        match event.expect("a batch in time").unwrap() {
            Event::Batch { changes, .. } => return (changes, before),
            other => before.push(other),
        }
    }
}

/// It is kept after the batch was taken.
async fn until_kept(state: &Path) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let is_state = |file: std::io::Result<fs::DirEntry>| {
        file.is_ok_and(|file| file.path().extension() == Some("manifests".as_ref()))
    };
    while !fs::read_dir(state).is_ok_and(|mut files| files.any(is_state)) {
        assert!(tokio::time::Instant::now() < deadline, "nothing is kept");
        tokio::time::sleep(Duration::from_millis(5)).await;
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
    until_kept(&state).await;
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
        until_kept(&state).await;
        drop(source);

        let elsewhere = root.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        if let Some(text) = in_its_place {
            fs::write(&path, text).unwrap();
        }
        let mut source = ManifestSource::open(&path, Some(&state)).unwrap();
        let (changes, before) = first(&mut source).await;
        assert_eq!(covers(&changes), ["x/a: ingress", "x/b: ingress"]);
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
        // Perhaps b, too: what is kept may be a little behind.
        assert!(covers(&changes).contains(&"x/a: gone".to_owned()));
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
