//! The directory source: loads once, then follows the directory, and sends what changes.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use policy_core::model::Change;
use thiserror::Error;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    Manifests, Problem, directory,
    file::File,
    links::{self, Entry},
    settle::{Settle, Touch},
    watch::Watch,
};
use crate::{convert::Field, source::SourceEvent};

/// Events that may wait for the receiver before reading pauses.
const BACKLOG: usize = 64;

/// Why a directory cannot be followed.
#[derive(Debug, Error)]
pub enum ManifestSourceError {
    /// It cannot be watched: it is no directory, or inotify has no room
    /// (`fs.inotify.max_user_watches`, `max_user_instances`).
    #[error("cannot watch the manifest directory {}", .directory.display())]
    Watch {
        /// The directory.
        directory: PathBuf,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// The task that follows it ended.
    #[error("the manifest source ended")]
    Ended,
}

/// A directory of manifests, followed until this is dropped.
#[derive(Debug)]
pub struct ManifestSource {
    events: mpsc::Receiver<SourceEvent>,
    task: JoinHandle<Result<(), ManifestSourceError>>,
}

impl ManifestSource {
    /// Begins to follow a directory. Must be called in a tokio runtime with time and I/O.
    ///
    /// # Errors
    ///
    /// When there is no such directory, or it cannot be watched.
    pub fn open(directory: &Path) -> Result<Self, ManifestSourceError> {
        let failed = |source| ManifestSourceError::Watch {
            directory: directory.to_owned(),
            source,
        };
        let path = std::path::absolute(directory).map_err(failed)?;
        // Watched before it is read, so that nothing is missed in between.
        let watch = Watch::new(path.clone()).map_err(failed)?;
        let (sender, events) = mpsc::channel(BACKLOG);
        let follow = Follow {
            directory: path,
            watch,
            manifests: Manifests::default(),
            settle: Settle::default(),
            links: BTreeMap::new(),
            unlisted: None,
            problems: Vec::new(),
            sender,
        };
        let task = tokio::spawn(follow.run());
        Ok(Self { events, task })
    }

    /// The next event. Cancel safe.
    ///
    /// # Errors
    ///
    /// When the directory cannot be followed any longer: nothing more will come.
    pub async fn next(&mut self) -> Result<SourceEvent, ManifestSourceError> {
        if let Some(event) = self.events.recv().await {
            return Ok(event);
        }
        match (&mut self.task).await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Err(ManifestSourceError::Ended),
        }
    }
}

impl Drop for ManifestSource {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Follow {
    directory: PathBuf,
    watch: Watch,
    manifests: Manifests,
    settle: Settle,
    /// The links that the files depend on.
    links: BTreeMap<Arc<str>, Vec<Entry>>,
    /// Why the directory could not be listed the last time.
    unlisted: Option<Problem>,
    /// What was sent last.
    problems: Vec<Problem>,
    sender: mpsc::Sender<SourceEvent>,
}

impl Follow {
    async fn run(mut self) -> Result<(), ManifestSourceError> {
        let changes = self.rescan()?;
        self.watch_links()?;
        let problems = self.problems();
        self.problems.clone_from(&problems);
        let first = (!changes.is_empty()).then_some(SourceEvent::Changes(changes));
        let synced = [SourceEvent::Problems(problems), SourceEvent::Synced];
        for event in first.into_iter().chain(synced) {
            if self.sender.send(event).await.is_err() {
                return Ok(());
            }
        }
        while self.turn().await? {}
        Ok(())
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
            () = rest_until(deadline) => {
                let changes = self.read_due()?;
                self.watch_links()?;
                return Ok(self.send(changes).await);
            }
        }
        Ok(true)
    }

    async fn send(&mut self, changes: Vec<Change>) -> bool {
        let problems = self.problems();
        let changed = problems != self.problems;
        self.problems.clone_from(&problems);
        let changes = (!changes.is_empty()).then_some(SourceEvent::Changes(changes));
        let problems = changed.then_some(SourceEvent::Problems(problems));
        for event in changes.into_iter().chain(problems) {
            if self.sender.send(event).await.is_err() {
                return false;
            }
        }
        true
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.manifests.problems();
        problems.extend(self.unlisted.clone());
        problems
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
                self.unlisted = Some(Problem {
                    file: self.directory.to_string_lossy().into(),
                    place: None,
                    object: None,
                    field: Field::root(),
                    message: format!("cannot be listed: {error}"),
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
            None if path.is_symlink() => File::unreadable("leads nowhere".to_owned()),
            None if self.directory.is_dir() => return self.forget(name),
            None => {
                self.settle.touch(None, Touch::Done, Instant::now());
                return Vec::new();
            }
        };
        for (api_version, kind) in file.ignored() {
            tracing::info!(file = %name, api_version, kind, "manifest has no effect");
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
