//! Real directories, real inotify.

use std::{
    fs,
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::fs::symlink,
    path::Path,
    time::Duration,
};

use policy_core::model::{Change, ObjectName};
use tempfile::TempDir;

use super::{ManifestSource, ManifestSourceError};
use crate::source::{Event, Revision, manifests::revision_of};

/// Far more than any machine needs.
const DEADLINE: Duration = Duration::from_secs(20);

fn policy(name: &str, types: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: x}}\nspec: {{podSelector: {{}}, policyTypes: [{types}]}}\n---\n"
    )
}

struct Followed {
    directory: TempDir,
    source: ManifestSource,
}

impl Followed {
    /// Opens a directory with these files and waits for the first load.
    async fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let source = ManifestSource::open(directory.path(), None).unwrap();
        let mut followed = Self { directory, source };
        while followed.next().await != Event::Synced {}
        followed
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    async fn next(&mut self) -> Event {
        let event = tokio::time::timeout(DEADLINE, self.source.next()).await;
        event.expect("an event in time").unwrap()
    }

    /// The next changes; problems on the way are not looked at.
    async fn changes(&mut self) -> Vec<Change> {
        loop {
            match self.next().await {
                Event::Batch { changes, .. } if !changes.is_empty() => return changes,
                _ => {}
            }
        }
    }

    /// The next list of problems, before which nothing may change.
    async fn problems(&mut self) -> Vec<String> {
        loop {
            match self.next().await {
                Event::Refused(refused) => {
                    return refused.iter().map(ToString::to_string).collect();
                }
                Event::Batch { changes, .. } if changes.is_empty() => {}
                other => panic!("{other:?} where refusals were expected"),
            }
        }
    }

    /// The revision after the next batches, once the directory is what it is now.
    async fn revision(&mut self) -> Revision {
        let wanted = revision_of(self.directory.path()).unwrap();
        loop {
            match self.next().await {
                Event::Batch { revision, .. } if revision == wanted => return revision,
                _ => {}
            }
        }
    }

    /// Asserts that nothing was sent for what has happened so far: something later that is known to
    /// be sent comes next.
    async fn nothing_before(&mut self, marker: &str) {
        self.write(&format!("{marker}.yaml"), &policy(marker, "Ingress"));
        let changes = self.changes().await;
        assert_eq!(covers(&changes), [format!("x/{marker}: ingress")]);
    }
}

/// Policies that changed and what they cover, removals included.
fn covers(changes: &[Change]) -> Vec<String> {
    let of = |change: &Change| match change {
        Change::Policy(policy) => {
            let ingress = policy.ingress.is_some().then_some(" ingress");
            let egress = policy.egress.is_some().then_some(" egress");
            let parts: String = ingress.into_iter().chain(egress).collect();
            Some(format!("{}:{parts}", policy.name))
        }
        Change::PolicyRemoved(name) => Some(format!("{name}: gone")),
        _ => None,
    };
    changes.iter().filter_map(of).collect()
}

#[tokio::test]
async fn what_is_there_is_sent_before_synced() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.yaml"), policy("a", "Ingress")).unwrap();
    fs::write(directory.path().join("b.yml"), "kind: ]").unwrap();
    fs::write(directory.path().join("c.txt"), "kind: ]").unwrap();
    let mut source = ManifestSource::open(directory.path(), None).unwrap();
    let first = source.next().await.unwrap();
    assert!(
        matches!(&first, Event::Refused(refused) if refused.len() == 1),
        "{first:?}"
    );
    let now = revision_of(directory.path()).unwrap();
    let second = source.next().await.unwrap();
    assert!(
        matches!(&second, Event::Batch { changes, revision } if covers(changes) == ["x/a: ingress"] && *revision == now),
        "{second:?}"
    );
    assert_eq!(source.next().await.unwrap(), Event::Synced);
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let error = ManifestSource::open(&missing, None).unwrap_err();
    assert!(
        matches!(error, ManifestSourceError::Watch { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn files_that_come_change_and_go_are_followed() {
    let mut followed = Followed::new(&[]).await;
    followed.write("a.yaml", &policy("a", "Ingress"));
    assert_eq!(covers(&followed.changes().await), ["x/a: ingress"]);
    followed.write("a.yaml", &policy("a", "Egress"));
    assert_eq!(covers(&followed.changes().await), ["x/a: egress"]);
    fs::remove_file(followed.path("a.yaml")).unwrap();
    assert_eq!(
        followed.changes().await,
        [
            Change::PolicyRemoved(ObjectName::new("x", "a")),
            Change::NamespaceRemoved("x".into())
        ]
    );
}

#[tokio::test]
async fn an_edit_takes_effect_within_a_second() {
    let mut followed = Followed::new(&[]).await;
    let mut fastest = DEADLINE;
    // The best of several: what the source adds, not what else the machine is doing.
    for types in ["Ingress", "Egress", "Ingress", "Egress"] {
        let start = tokio::time::Instant::now();
        followed.write("a.yaml", &policy("a", types));
        followed.changes().await;
        fastest = fastest.min(start.elapsed());
    }
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
}

#[tokio::test]
async fn an_editor_that_renames_a_new_file_over_the_old_one_is_one_change() {
    let text = policy("a", "Ingress");
    let mut followed = Followed::new(&[("a.yaml", &text)]).await;
    fs::rename(followed.path("a.yaml"), followed.path("a.yaml~")).unwrap();
    followed.write(".a.yaml.swp", "kind: ]");
    followed.write("a.yaml.new", &policy("a", "Egress"));
    fs::rename(followed.path("a.yaml.new"), followed.path("a.yaml")).unwrap();
    fs::remove_file(followed.path(".a.yaml.swp")).unwrap();
    assert_eq!(covers(&followed.changes().await), ["x/a: egress"]);
}

#[tokio::test]
async fn a_file_that_is_being_written_is_not_read() {
    let text = policy("a", "Ingress");
    let mut followed = Followed::new(&[("a.yaml", &text)]).await;
    let mut file = fs::File::create(followed.path("a.yaml")).unwrap();
    let new = policy("a", "Egress");
    let (half, rest) = new.split_at(new.find(", policyTypes").unwrap());
    writeln!(file, "{half}}}").unwrap();
    file.flush().unwrap();
    followed.nothing_before("m").await;
    file.seek(SeekFrom::Start(half.len() as u64)).unwrap();
    file.write_all(rest.as_bytes()).unwrap();
    drop(file);
    assert_eq!(covers(&followed.changes().await), ["x/a: egress"]);
}

#[tokio::test]
async fn a_file_that_was_emptied_keeps_what_it_defined() {
    let text = policy("a", "Ingress");
    let mut followed = Followed::new(&[("a.yaml", &text)]).await;
    followed.write("a.yaml", "");
    let problems = followed.problems().await;
    assert!(problems[0].starts_with("a.yaml: is empty"), "{problems:?}");
    followed.write("a.yaml", &text);
    assert_eq!(followed.problems().await, [] as [String; 0]);
    followed.nothing_before("m").await;
}

#[tokio::test]
async fn a_renamed_file_changes_nothing() {
    let text = policy("a", "Ingress");
    let mut followed = Followed::new(&[("b.yaml", &text)]).await;
    fs::rename(followed.path("b.yaml"), followed.path("c.yaml")).unwrap();
    followed.nothing_before("m").await;
    fs::rename(followed.path("c.yaml"), followed.path("a.yaml")).unwrap();
    followed.nothing_before("n").await;
}

#[tokio::test]
async fn a_mounted_config_map_changes_by_one_swap() {
    fn version(root: &Path, name: &str, files: &[(&str, String)]) {
        fs::create_dir(root.join(name)).unwrap();
        for (file, text) in files {
            fs::write(root.join(name).join(file), text).unwrap();
        }
        symlink(name, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let files = [
        ("a.yaml", policy("a", "Ingress")),
        ("b.yaml", policy("b", "Ingress")),
    ];
    version(root, "..v1", &files);
    symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    symlink("..data/b.yaml", root.join("b.yaml")).unwrap();
    let source = ManifestSource::open(root, None).unwrap();
    let mut followed = Followed { directory, source };
    while followed.next().await != Event::Synced {}

    let root = followed.directory.path().to_owned();
    let files = [
        ("a.yaml", policy("a", "Egress")),
        ("b.yaml", policy("b", "Ingress")),
    ];
    version(&root, "..v2", &files);
    fs::remove_dir_all(root.join("..v1")).unwrap();
    assert_eq!(covers(&followed.changes().await), ["x/a: egress"]);

    // As the kubelet does when a key is gone: the link is removed after the swap.
    version(&root, "..v3", &files[..1]);
    fs::remove_file(root.join("b.yaml")).unwrap();
    fs::remove_dir_all(root.join("..v2")).unwrap();
    assert_eq!(covers(&followed.changes().await), ["x/b: gone"]);
}

#[tokio::test]
async fn a_link_into_another_directory_is_followed() {
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("p.yaml");
    fs::write(&target, policy("a", "Ingress")).unwrap();
    let mut followed = Followed::new(&[]).await;
    symlink(&target, followed.path("a.yaml")).unwrap();
    assert_eq!(covers(&followed.changes().await), ["x/a: ingress"]);
    fs::write(&target, policy("a", "Egress")).unwrap();
    assert_eq!(covers(&followed.changes().await), ["x/a: egress"]);
    fs::remove_file(&target).unwrap();
    let problems = followed.problems().await;
    assert_eq!(problems, ["a.yaml: leads nowhere"]);
}

#[tokio::test]
async fn a_directory_that_is_replaced_keeps_everything_in_force_meanwhile() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("manifests");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.yaml"), policy("a", "Ingress")).unwrap();
    let source = ManifestSource::open(&path, None).unwrap();
    let mut followed = Followed {
        directory: root,
        source,
    };
    while followed.next().await != Event::Synced {}
    fs::rename(&path, followed.path("old")).unwrap();
    let problems = followed.problems().await;
    assert!(problems[0].contains("cannot be listed"), "{problems:?}");
    let new = followed.path("new");
    fs::create_dir(&new).unwrap();
    fs::write(new.join("a.yaml"), policy("a", "Egress")).unwrap();
    fs::rename(&new, &path).unwrap();
    assert_eq!(followed.problems().await, [] as [String; 0]);
    assert_eq!(covers(&followed.changes().await), ["x/a: egress"]);
    fs::write(path.join("a.yaml"), policy("a", "Ingress")).unwrap();
    assert_eq!(covers(&followed.changes().await), ["x/a: ingress"]);
}

#[tokio::test]
async fn a_broken_document_is_reported_and_its_object_stays() {
    let text = policy("a", "Ingress") + &policy("b", "Ingress");
    let mut followed = Followed::new(&[("f.yaml", &text)]).await;
    let broken = policy("a", "Ingres") + &policy("b", "Egress");
    followed.write("f.yaml", &broken);
    assert_eq!(
        followed.problems().await,
        [
            "f.yaml:4: document 1: NetworkPolicy x/a: spec.policyTypes[0]: \"Ingres\" is not a policy type (Ingress, Egress)"
        ]
    );
    assert_eq!(covers(&followed.changes().await), ["x/b: egress"]);
}

#[tokio::test]
async fn a_directory_that_is_a_link_is_followed_to_where_it_leads() {
    let root = tempfile::tempdir().unwrap();
    for (version, types) in [("v1", "Ingress"), ("v2", "Egress")] {
        fs::create_dir(root.path().join(version)).unwrap();
        let file = root.path().join(version).join("a.yaml");
        fs::write(file, policy("a", types)).unwrap();
    }
    let path = root.path().join("manifests");
    symlink("v1", &path).unwrap();
    let source = ManifestSource::open(&path, None).unwrap();
    let mut followed = Followed {
        directory: root,
        source,
    };
    while followed.next().await != Event::Synced {}
    symlink("v2", followed.path("next")).unwrap();
    fs::rename(followed.path("next"), &path).unwrap();
    assert_eq!(covers(&followed.changes().await), ["x/a: egress"]);
    fs::remove_file(followed.path("v2/a.yaml")).unwrap();
    assert_eq!(covers(&followed.changes().await), ["x/a: gone"]);
}

#[tokio::test]
async fn a_hundred_edits_in_a_row_end_in_the_last_one() {
    let mut followed = Followed::new(&[]).await;
    for round in 0..100 {
        let types = ["Ingress", "Egress"][round % 2];
        followed.write("a.yaml", &policy("a", types));
    }
    let mut last = covers(&followed.changes().await);
    while last != ["x/a: egress"] {
        last = covers(&followed.changes().await);
    }
    followed.nothing_before("m").await;
}

#[tokio::test]
async fn a_revision_says_what_was_read_whatever_it_changed() {
    let text = policy("a", "Ingress");
    let mut followed = Followed::new(&[("a.yaml", &text)]).await;
    let first = revision_of(followed.directory.path()).unwrap();
    followed.write("a.yaml", &format!("# only a comment\n{text}"));
    let second = followed.revision().await;
    assert_ne!(second, first);
    followed.write("b.yaml", "kind: ]");
    assert_ne!(followed.revision().await, second, "refused, and read");
    followed.write("a.yaml", &text);
    fs::remove_file(followed.path("b.yaml")).unwrap();
    assert_eq!(followed.revision().await, first);
}

#[tokio::test]
async fn a_reload_reads_what_no_event_announced() {
    let text = policy("a", "Ingress");
    let elsewhere = tempfile::tempdir().unwrap();
    let hidden = elsewhere.path().join("a.yaml");
    fs::write(&hidden, &text).unwrap();
    let mut followed = Followed::new(&[]).await;
    // A second name of the file: writing through the first is no event of the directory.
    fs::hard_link(&hidden, followed.path("a.yaml")).unwrap();
    assert_eq!(covers(&followed.changes().await), ["x/a: ingress"]);
    fs::write(&hidden, policy("a", "Egress")).unwrap();
    followed.nothing_before("m").await;
    followed.source.reload();
    assert_eq!(covers(&followed.changes().await), ["x/a: egress"]);
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
