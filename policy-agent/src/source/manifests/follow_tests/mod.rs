//! Real directories, real inotify.

mod ahead;
mod links;
mod restart;

use std::{
    fs,
    io::{Seek as _, SeekFrom, Write as _},
    time::Duration,
};

use policy_core::model::{Change, ObjectName};
use tempfile::TempDir;

use super::{ManifestSource, ManifestSourceError};
use crate::source::{Event, Revision, manifests::revision_of};

/// Far more than any machine needs.
const DEADLINE: Duration = Duration::from_secs(60);

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
                Event::Kept(_) => {}
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
    followed.nothing_before("o").await;
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
