//! What a restart finds.

use super::*;

#[tokio::test]
async fn a_restart_goes_on_with_what_was_accepted_of_files_that_cannot_be_read_now() {
    let root = tempfile::tempdir().unwrap();
    let (state, path) = (root.path().join("state"), root.path().join("manifests"));
    fs::create_dir(&path).unwrap();
    for name in ["broken", "blank", "gone", "sound"] {
        let text = policy(name, "Ingress");
        fs::write(path.join(format!("{name}.yaml")), text).unwrap();
    }
    let first = async |source: &mut ManifestSource| loop {
        match source.next().await.unwrap() {
            Event::Batch { changes, .. } => return changes,
            Event::Refused(_) | Event::Synced => {}
        }
    };
    let mut source = ManifestSource::open(&path, Some(&state)).unwrap();
    assert_eq!(covers(&first(&mut source).await).len(), 4);
    // It is kept after the batch was taken.
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let kept = |state: &Path| {
        fs::read_dir(state).is_ok_and(|mut files| {
            files.any(|file| {
                file.is_ok_and(|file| file.path().extension() == Some("manifests".as_ref()))
            })
        })
    };
    while !kept(&state) {
        assert!(tokio::time::Instant::now() < deadline, "nothing is kept");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(source);

    fs::write(path.join("broken.yaml"), policy("broken", "Ingres")).unwrap();
    fs::write(path.join("blank.yaml"), "").unwrap();
    fs::remove_file(path.join("gone.yaml")).unwrap();
    fs::write(path.join("sound.yaml"), policy("sound", "Egress")).unwrap();
    let mut source = ManifestSource::open(&path, Some(&state)).unwrap();
    let changes = covers(&first(&mut source).await);
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
}
