//! The directory source: loads once, then follows the directory, and sends what changes.
//!
//! Files are read and decoded on a thread of their own: a slow disk or a large file delays nobody
//! else. Invariant: a batch's revision is sent after the refusals that belong to it.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use policy_core::model::Change;
use tokio::sync::{Notify, mpsc};

use super::{
    ManifestSourceError, Manifests, directory,
    file::File,
    kept::StateFile,
    links::{self, Entry},
    settle::{Settle, Touch},
    watch::Watch,
};
use crate::{
    convert::Field,
    source::{Event, Origin, Problem, Refusal, Revision},
    text::Printable,
};

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
            // Watched before it is read, so that nothing is missed in between.
            let watch = match Watch::new(self.directory.clone()) {
                Ok(watch) => watch,
                Err(error) => {
                    let _ = begun.send(Err(error));
                    return Ok(());
                }
            };
            let _ = begun.send(Ok(()));
            let follow = Follow {
                directory: self.directory,
                state: self.state,
                watch,
                manifests: Manifests::default(),
                settle: Settle::default(),
                links: BTreeMap::new(),
                unlisted: None,
                refused: Vec::new(),
                revision: None,
                reload: self.reload,
                sender: self.sender,
            };
            follow.run().await
        })
    }
}

struct Follow {
    directory: PathBuf,
    state: Option<StateFile>,
    watch: Watch,
    manifests: Manifests,
    settle: Settle,
    /// The links that the files depend on.
    links: BTreeMap<Arc<str>, Vec<Entry>>,
    /// Why the directory could not be listed the last time.
    unlisted: Option<Refusal>,
    /// What was sent last.
    refused: Vec<Refusal>,
    revision: Option<Revision>,
    /// Somebody wants everything read again.
    reload: Arc<Notify>,
    sender: mpsc::Sender<Event>,
}

impl Follow {
    async fn run(mut self) -> Result<(), ManifestSourceError> {
        let mut changes = self.restore();
        let kept = changes.len();
        changes.extend(self.rescan()?);
        self.watch_links()?;
        if self.unlisted.is_none() && self.manifests.files().next().is_none() {
            tracing::warn!(
                "there are no manifests in {}{}",
                Printable(self.directory.display()),
                if kept > 0 {
                    ": everything that an earlier run knew is gone"
                } else {
                    ""
                }
            );
        }
        if self.send(changes).await && self.sender.send(Event::Synced).await.is_ok() {
            while self.turn().await? {}
        }
        Ok(())
    }

    /// What an earlier run had accepted.
    fn restore(&mut self) -> Vec<Change> {
        let Some(state) = &self.state else {
            return Vec::new();
        };
        match state.read() {
            Ok(kept) => self.manifests.restore(kept),
            Err(error) => {
                tracing::error!("what an earlier run accepted cannot be read: {error}");
                Vec::new()
            }
        }
    }

    /// Keeps what is accepted for the next run.
    fn keep(&mut self) {
        let Some(state) = &self.state else {
            return;
        };
        let kept = state.write(self.manifests.accepted());
        if let Err(error) = kept {
            let directory = Printable(state.directory().display());
            tracing::error!(
                "what is accepted cannot be kept for a restart in {directory} (--state-dir): {error}"
            );
        }
    }

    /// Waits for one thing and does it; false when nobody listens any more.
    async fn turn(&mut self) -> Result<bool, ManifestSourceError> {
        let deadline = self.settle.deadline();
        tokio::select! {
            () = self.sender.closed() => return Ok(false),
            touched = self.watch.next() => {
                let (name, touch) = touched.map_err(|source| self.failed(source))?;
                self.settle.touch(name, touch, Instant::now());
            }
            () = self.reload.notified() => self.settle.touch(None, Touch::Done, Instant::now()),
            () = rest_until(deadline) => {
                let changes = self.read_due()?;
                self.watch_links()?;
                return Ok(self.send(changes).await);
            }
        }
        Ok(true)
    }

    async fn send(&mut self, changes: Vec<Change>) -> bool {
        let mut refused = self.manifests.refused();
        refused.extend(self.unlisted.clone());
        if refused != self.refused {
            self.refused.clone_from(&refused);
            if self.sender.send(Event::Refused(refused)).await.is_err() {
                return false;
            }
        }
        let revision = self.manifests.revision();
        if changes.is_empty() && self.revision.as_ref() == Some(&revision) {
            return true;
        }
        self.revision = Some(revision.clone());
        let batch = Event::Batch { changes, revision };
        if self.sender.send(batch).await.is_err() {
            return false;
        }
        self.keep();
        true
    }

    fn read_due(&mut self) -> Result<Vec<Change>, ManifestSourceError> {
        let due = self.settle.due(Instant::now());
        if due.contains(&None) {
            return self.rescan();
        }
        // A renamed file's objects have their new home before they lose the old one.
        let (there, gone): (Vec<_>, Vec<_>) = due
            .into_iter()
            .flatten()
            .partition(|name| self.directory.join(&**name).exists());
        let names = there.into_iter().chain(gone);
        Ok(names.flat_map(|name| self.read(&name)).collect())
    }

    /// Reads every file, and forgets those that are gone.
    fn rescan(&mut self) -> Result<Vec<Change>, ManifestSourceError> {
        // The directory may be another one by now: watched before it is read.
        self.watch_links()?;
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
                return Ok(Vec::new());
            }
        };
        self.unlisted = None;
        let known: Vec<_> = self.manifests.files().cloned().collect();
        let mut changes = Vec::new();
        for name in &names {
            if !self.settle.is_written(name) {
                changes.extend(self.read(name));
            }
        }
        for name in known {
            if names.binary_search(&name).is_err() {
                changes.extend(self.forget(&name));
            }
        }
        Ok(changes)
    }

    fn read(&mut self, name: &Arc<str>) -> Vec<Change> {
        let path = self.directory.join(&**name);
        self.link(name, &path);
        let file = match directory::read_file(&path) {
            Some(file) => file,
            // A link that leads nowhere is not a deleted file: its target is being replaced.
            None if path.is_symlink() => File::unreadable(Problem::LeadsNowhere),
            None if self.directory.is_dir() => return self.forget(name),
            None => {
                self.settle.touch(None, Touch::Done, Instant::now());
                return Vec::new();
            }
        };
        for (api_version, kind) in file.ignored() {
            tracing::info!(file = %name, api_version, kind, "manifest has no effect");
        }
        for (object, strange) in file.oddities() {
            tracing::warn!(
                "{}:{}: {}: {}: {}",
                Printable(name),
                strange.line,
                Printable(object),
                Printable(&strange.field),
                Printable(&strange.oddity)
            );
        }
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
            self.settle.touch(again, Touch::Noticed, Instant::now());
        }
    }

    fn forget(&mut self, name: &Arc<str>) -> Vec<Change> {
        self.links.remove(name);
        self.manifests.remove(name)
    }

    /// Watches what decides where the files are. A directory that is gone is waited for.
    fn watch_links(&mut self) -> Result<(), ManifestSourceError> {
        match self.watch.follow(self.links.values().flatten()) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(self.failed(source)),
            _ => Ok(()),
        }
    }

    fn failed(&self, source: io::Error) -> ManifestSourceError {
        ManifestSourceError::Watch {
            directory: self.directory.clone(),
            source,
        }
    }
}

async fn rest_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
