//! What does not wait while a large file is read.
//!
//! Decoding ten thousand objects takes a good part of a second. Policies that were written meanwhile
//! and do nothing but close are in force before: that may be the answer to an attack. Everything else
//! keeps its order. Invariant: what goes ahead would deny the same in its own place.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs, panic,
    path::Path,
    sync::Arc,
    time::Instant,
};

use tokio::task;

use super::{Follow, ManifestSourceError, rest_until, tell};
use crate::source::manifests::{directory, file::File};

/// Bytes of a file that is read at once: some milliseconds of work.
const SMALL: u64 = 64 << 10;

impl Follow {
    /// Reads files, of which nothing is taken in yet, but for those that go ahead of large ones: they
    /// are not among what was read.
    pub(super) async fn read_all(
        &mut self,
        names: &[Arc<str>],
    ) -> Result<BTreeMap<Arc<str>, Option<File>>, ManifestSourceError> {
        let mut queue: Vec<_> = names.to_vec();
        queue.sort_by_key(|name| is_small(&self.directory.join(&**name)));
        let mut queue = VecDeque::from(queue);
        let mut read = BTreeMap::new();
        while let Some(name) = queue.pop_front() {
            let path = self.directory.join(&*name);
            self.link(&name, &path);
            let file = self.read_file(&name, &path, &mut queue).await?;
            read.insert(name, file);
        }
        Ok(read)
    }

    /// Reads a file; while it is a large one, lets pass what may go ahead of it: the files of `queue`
    /// that are to be read after it, and what changes meanwhile.
    async fn read_file(
        &mut self,
        name: &Arc<str>,
        path: &Path,
        queue: &mut VecDeque<Arc<str>>,
    ) -> Result<Option<File>, ManifestSourceError> {
        if is_small(path) {
            return Ok(directory::read_file(path));
        }
        let path = path.to_owned();
        let mut reading = task::spawn_blocking(move || directory::read_file(&path));
        let mut passed_over = BTreeSet::new();
        loop {
            self.let_pass(name, queue, &mut passed_over);
            let due = self.debounce.next_deadline(Instant::now());
            tokio::select! {
                file = &mut reading => {
                    return Ok(file.unwrap_or_else(|error| panic::resume_unwind(error.into_panic())));
                }
                touched = self.watch.next() => {
                    let (name, touch) = touched.map_err(|source| self.failed(source))?;
                    if let Some(name) = &name {
                        passed_over.remove(name);
                    }
                    self.debounce.touch(name, touch, Instant::now());
                }
                () = rest_until(due) => {}
            }
        }
    }

    /// `passed_over` are names that are not to be looked at again before they change.
    fn let_pass(
        &mut self,
        being_read: &Arc<str>,
        queue: &mut VecDeque<Arc<str>>,
        passed_over: &mut BTreeSet<Arc<str>>,
    ) {
        let now = Instant::now();
        let names: Vec<_> = queue
            .iter()
            .cloned()
            .chain(self.debounce.rested(now))
            .collect();
        for name in names.into_iter().filter(|name| name != being_read) {
            let path = self.directory.join(&*name);
            if passed_over.contains(&name) || path.is_symlink() || !is_small(&path) {
                continue;
            }
            let file = directory::read_file(&path);
            let Some(file) = file.filter(|file| self.manifests.only_closes(&name, file)) else {
                passed_over.insert(name);
                continue;
            };
            let sender = self.sender.clone();
            let Ok(room) = sender.try_reserve() else {
                return;
            };
            queue.retain(|other| *other != name);
            self.debounce.take(&name);
            tell(&name, &file);
            let changes = self.manifests.replace(&name, file);
            if !changes.is_empty() {
                room.send(self.batch(changes));
            }
        }
    }
}

/// Whether a file, or what stands in its place, is read at once.
fn is_small(path: &Path) -> bool {
    fs::metadata(path).map_or(true, |metadata| {
        !metadata.is_file() || metadata.len() <= SMALL
    })
}
