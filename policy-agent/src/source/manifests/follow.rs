//! The directory source: loads once, then follows the directory, and sends what changes.
//!
//! Files are read and decoded on a thread of their own: a slow disk or a large file delays nobody
//! else. Invariant: a batch's revision is sent after the refusals that belong to it.

mod ahead;
mod tell;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use policy_core::model::Change;
use tokio::sync::{Notify, mpsc};

use self::tell::tell;
use super::{
    ManifestSourceError, Manifests,
    debounce::{Debounce, Touch},
    directory,
    file::File,
    keeping::Keeping,
    kept::{self, StateFile},
    links::{self, Entry},
    opening::Opening,
    watch::Watch,
};
use crate::{
    convert::{Field, Kind, ObjectRef},
    source::{Event, Kept, Origin, Problem, Refusal, Revision, log::PolicyLog},
    text::Printable,
};

/// How long a directory that cannot be read or watched is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// What the thread that follows a directory begins with.
pub(super) struct Thread {
    pub(super) directory: PathBuf,
    pub(super) state: Option<StateFile>,
    pub(super) reload: Arc<Notify>,
    pub(super) sender: mpsc::Sender<Event>,
}

impl Thread {
    /// Follows the directory until nobody listens; says whether it can be watched.
    pub(super) fn run(
        self,
        begun: &std::sync::mpsc::Sender<io::Result<()>>,
    ) -> Result<(), ManifestSourceError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ManifestSourceError::Thread)?;
        runtime.block_on(async {
            let kept::State { kept, revision } =
                self.state.as_ref().map(restore).unwrap_or_default();
            let begin = |directory: &Path| {
                let mut watch = Watch::new(directory.to_owned())?;
                // Watched before it is read, so that nothing is missed in between.
                let away = watch.follow(std::iter::empty()).err();
                Ok((watch, away))
            };
            let watch = match begin(&self.directory) {
                Ok((watch, None)) => watch,
                // What an earlier run accepted is enforced until somebody says otherwise.
                Ok((watch, Some(error))) if !kept.is_empty() => {
                    tracing::error!(
                        "{} cannot be read: {error}; {} objects that an earlier run accepted stay in force",
                        Printable(self.directory.display()),
                        kept.len()
                    );
                    watch
                }
                Ok((_, Some(error))) | Err(error) => {
                    let _ = begun.send(Err(error));
                    return Ok(());
                }
            };
            let _ = begun.send(Ok(()));
            let follow = Follow {
                directory: self.directory,
                keeping: self.state.map(Keeping::new),
                watch,
                manifests: Manifests::default(),
                debounce: Debounce::default(),
                links: BTreeMap::new(),
                unlisted: None,
                had_files: false,
                retry: None,
                refused: Vec::new(),
                kept: Vec::new(),
                log: PolicyLog::default(),
                revision: None,
                earlier: revision,
                opening: Some(Opening::new(Instant::now())),
                reload: self.reload,
                sender: self.sender,
            };
            follow.run(kept).await
        })
    }
}

struct Follow {
    directory: PathBuf,
    keeping: Option<Keeping>,
    watch: Watch,
    manifests: Manifests,
    debounce: Debounce,
    /// The links that the files depend on.
    links: BTreeMap<Arc<str>, Vec<Entry>>,
    /// Why the directory could not be listed the last time.
    unlisted: Option<Refusal>,
    /// There were manifests when it was looked the last time.
    had_files: bool,
    /// When to look for the directory again: not everything that keeps it away is announced.
    retry: Option<Instant>,
    /// What was sent last.
    refused: Vec<Refusal>,
    kept: Vec<Kept>,
    revision: Option<Revision>,
    /// What an earlier run had accepted, while this one could not look.
    earlier: Option<Revision>,
    /// Until everything was read that was there at the start.
    opening: Option<Opening>,
    log: PolicyLog,
    /// Somebody wants everything read again.
    reload: Arc<Notify>,
    sender: mpsc::Sender<Event>,
}

impl Follow {
    async fn run(mut self, kept: Vec<kept::Kept>) -> Result<(), ManifestSourceError> {
        let mut changes = self.manifests.restore(kept);
        let is_kept = !changes.is_empty();
        changes.extend(self.rescan());
        self.watch_links();
        self.had_files |= is_kept;
        self.tell_empty(true);
        if self.send(changes).await {
            while self.turn().await? {}
        }
        self.keep();
        Ok(())
    }

    /// Waits for one thing and does it; false when nobody listens any more.
    async fn turn(&mut self) -> Result<bool, ManifestSourceError> {
        let due = self.debounce.deadline();
        let keep = self.keeping.as_ref().and_then(Keeping::deadline);
        let opened = self.opening.as_ref().map(Opening::deadline);
        tokio::select! {
            biased;
            () = self.sender.closed() => return Ok(false),
            () = rest_until(due) => {
                let changes = self.read_due().await?;
                self.watch_links();
                return Ok(self.send(changes).await);
            }
            () = rest_until(self.retry) => {
                let changes = self.rescan();
                self.watch_links();
                return Ok(self.send(changes).await);
            }
            () = rest_until(keep) => self.keep(),
            () = self.reload.notified() => self.debounce.touch(None, Touch::Done, Instant::now()),
            touched = self.watch.next() => {
                let (name, touch) = touched.map_err(|source| self.failed(source))?;
                let now = Instant::now();
                if let Some(opening) = &mut self.opening {
                    opening.touch(now);
                }
                self.debounce.touch(name, touch, now);
            }
            // Last: what has come by then belongs to it.
            () = rest_until(opened) => {
                self.opening = None;
                return Ok(self.sender.send(Event::Synced).await.is_ok());
            }
        }
        Ok(true)
    }

    /// Keeps what is accepted for the next run.
    fn keep(&mut self) {
        if let Some(keeping) = &mut self.keeping {
            keeping.write(&self.manifests);
        }
    }

    async fn send(&mut self, changes: Vec<Change>) -> bool {
        self.tell_empty(false);
        let mut refused = self.manifests.refused();
        refused.extend(self.unlisted.clone());
        if refused != self.refused {
            self.refused.clone_from(&refused);
            if self.sender.send(Event::Refused(refused)).await.is_err() {
                return false;
            }
        }
        let away = self.unlisted.as_ref().map(|refusal| &refusal.problem);
        let kept = self.manifests.kept(away);
        if kept != self.kept {
            self.kept.clone_from(&kept);
            if self.sender.send(Event::Kept(kept)).await.is_err() {
                return false;
            }
        }
        let revision = self.current();
        if changes.is_empty() && self.revision.as_ref() == Some(&revision) {
            return true;
        }
        let batch = self.batch(changes);
        self.sender.send(batch).await.is_ok()
    }

    /// The revision of what is accepted.
    fn current(&self) -> Revision {
        let earlier = self.earlier.clone();
        earlier.unwrap_or_else(|| self.manifests.revision())
    }

    /// What is sent for changes.
    fn batch(&mut self, changes: Vec<Change>) -> Event {
        let revision = self.current();
        self.revision = Some(revision.clone());
        self.log.batch(&changes, &revision, |name| {
            let owner = self.manifests.owner(&ObjectRef {
                kind: Kind::NetworkPolicy,
                name: name.clone(),
            })?;
            Some(Origin::File {
                name: Arc::clone(owner),
                place: None,
            })
        });
        if let Some(keeping) = &mut self.keeping {
            keeping.touch(Instant::now());
        }
        Event::Batch { changes, revision }
    }

    async fn read_due(&mut self) -> Result<Vec<Change>, ManifestSourceError> {
        let due = self.debounce.due(Instant::now());
        if due.contains(&None) {
            return Ok(self.rescan());
        }
        // A renamed file's objects have their new home before they lose the old one.
        let (there, gone): (Vec<_>, Vec<_>) = due
            .into_iter()
            .flatten()
            .partition(|name| self.directory.join(&**name).exists());
        let names: Vec<_> = there.into_iter().chain(gone).collect();
        let mut read = self.read_all(&names).await?;
        let all = names
            .iter()
            .filter_map(|name| Some((name, read.remove(name)?)));
        let changes = all.map(|(name, file)| self.take_in(name, file));
        Ok(changes.collect::<Vec<_>>().concat())
    }

    /// Reads every file, and forgets those that are gone.
    fn rescan(&mut self) -> Vec<Change> {
        self.retry = None;
        // The directory may be another one by now: watched before it is read.
        self.watch_links();
        let names = match directory::list_directory(&self.directory) {
            Ok(names) => names,
            Err(error) => {
                // Perhaps it is being replaced. What was in force stays.
                self.unlisted = Some(Refusal {
                    object: None,
                    origin: Origin::File {
                        name: self.directory.to_string_lossy().into(),
                        place: None,
                    },
                    field: Field::root(),
                    problem: Problem::Unlisted(error.to_string()),
                });
                self.retry = Some(Instant::now() + RETRY);
                return Vec::new();
            }
        };
        self.unlisted = None;
        self.earlier = None;
        let known: Vec<_> = self.manifests.files().cloned().collect();
        let mut changes = Vec::new();
        for name in &names {
            if !self.debounce.is_written(name) {
                changes.extend(self.read(name));
            }
        }
        for name in known {
            if names.binary_search(&name).is_err() {
                changes.extend(self.forget(&name));
            }
        }
        changes
    }

    fn read(&mut self, name: &Arc<str>) -> Vec<Change> {
        let path = self.directory.join(&**name);
        self.link(name, &path);
        self.take_in(name, directory::read_file(&path))
    }

    /// Takes in what was read of a file; `None`: it was not there.
    fn take_in(&mut self, name: &Arc<str>, file: Option<File>) -> Vec<Change> {
        let path = self.directory.join(&**name);
        let file = match file {
            Some(file) => file,
            // A link that leads nowhere is not a deleted file: its target is being replaced.
            None if path.is_symlink() => File::unreadable(Problem::LeadsNowhere),
            None if self.directory.is_dir() => return self.forget(name),
            None => {
                self.debounce.touch(None, Touch::Done, Instant::now());
                return Vec::new();
            }
        };
        tell(name, &file);
        self.manifests.replace(name, file)
    }

    /// Remembers which links a file depends on. It is read again once those are watched.
    fn link(&mut self, name: &Arc<str>, path: &Path) {
        if !path.is_symlink() {
            self.links.remove(name);
            return;
        }
        let links = links::entries(path);
        if self.links.get(name) != Some(&links) {
            self.links.insert(Arc::clone(name), links);
            let again = Some(Arc::clone(name));
            self.debounce.touch(again, Touch::Noticed, Instant::now());
        }
    }

    fn forget(&mut self, name: &Arc<str>) -> Vec<Change> {
        self.links.remove(name);
        self.manifests.remove(name)
    }

    /// Watches what decides where the files are. What cannot be watched is looked at again later.
    fn watch_links(&mut self) {
        if let Err(error) = self.watch.follow(self.links.values().flatten()) {
            if error.kind() != io::ErrorKind::NotFound && self.retry.is_none() {
                let directory = Printable(self.directory.display());
                tracing::error!("what changes in {directory} cannot be watched: {error}");
            }
            self.retry = Some(Instant::now() + RETRY);
        }
    }

    fn failed(&self, source: io::Error) -> ManifestSourceError {
        ManifestSourceError::Watch {
            directory: self.directory.clone(),
            source,
        }
    }
}

/// What an earlier run had accepted.
fn restore(state: &StateFile) -> kept::State {
    state.read().unwrap_or_else(|error| {
        tracing::error!("what an earlier run accepted cannot be read: {error}");
        kept::State::default()
    })
}

async fn rest_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
