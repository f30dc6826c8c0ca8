//! Which directories the kernel watches for us, and what their events mean.
//!
//! Owns the inotify instance. Knows names, not contents.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::{OsStr, OsString},
    io,
    path::PathBuf,
    sync::Arc,
};

use futures_util::StreamExt as _;
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};

use super::{
    debounce::Touch,
    directory::is_manifest,
    links::{self, Entry},
};

/// What a name in a watched directory stands for.
#[derive(Clone, Debug, Default)]
struct Watched {
    /// The directory of manifests: its files speak for themselves.
    manifests: bool,
    /// Links, and what they lead to: when one changes, everything is read again.
    links: BTreeSet<OsString>,
}

/// The watches of one directory of manifests.
pub(super) struct Watch {
    directory: PathBuf,
    watches: Watches,
    stream: EventStream<Vec<u8>>,
    watched: HashMap<WatchDescriptor, Watched>,
    descriptors: BTreeMap<PathBuf, WatchDescriptor>,
}

/// What an event is about: a file, or (`None`) possibly everything.
pub(super) type Touched = (Option<Arc<str>>, Touch);

impl Watch {
    /// For a directory, by its absolute path; [`Self::follow`] begins to watch it.
    pub(super) fn new(directory: PathBuf) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        let watches = inotify.watches();
        let stream = inotify.into_event_stream(vec![0; 64 * 1024])?;
        Ok(Self {
            directory,
            watches,
            stream,
            watched: HashMap::new(),
            descriptors: BTreeMap::new(),
        })
    }

    /// Watches the directory where it is now, the links to it, and those of the files given.
    pub(super) fn follow<'links>(
        &mut self,
        links: impl Iterator<Item = &'links Entry>,
    ) -> io::Result<()> {
        let mut wanted: BTreeMap<PathBuf, Watched> = BTreeMap::new();
        let own = links::entries(&self.directory);
        for Entry { directory, name } in own.into_iter().chain(links.cloned()) {
            let watched = wanted.entry(directory).or_default();
            watched.links.insert(name);
        }
        let directory = self.directory.canonicalize();
        if let Ok(directory) = &directory {
            wanted.entry(directory.clone()).or_default().manifests = true;
        }
        let mut descriptors = BTreeMap::new();
        let mut watched = HashMap::new();
        for (path, names) in wanted {
            match self.watches.add(&path, MASK) {
                Ok(descriptor) => {
                    descriptors.insert(path, descriptor.clone());
                    watched.insert(descriptor, names);
                }
                // A directory that a link leads to may be gone; the link's own is watched.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        for (_, descriptor) in std::mem::replace(&mut self.descriptors, descriptors) {
            if !watched.contains_key(&descriptor) {
                // The kernel removed it itself when the directory is gone.
                let _ = self.watches.remove(descriptor);
            }
        }
        self.watched = watched;
        directory.map(|_| ())
    }

    /// The next thing that happened.
    pub(super) async fn next(&mut self) -> io::Result<Touched> {
        loop {
            let event = self.stream.next().await;
            let event = event.ok_or(io::ErrorKind::UnexpectedEof)??;
            if let Some(touched) = self.read(&event) {
                return Ok(touched);
            }
        }
    }

    fn read(&self, event: &EventOwned) -> Option<Touched> {
        let everything = Some((None, Touch::Done));
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            return everything;
        }
        let watched = self.watched.get(&event.wd)?;
        let gone = EventMask::IGNORED | EventMask::DELETE_SELF | EventMask::MOVE_SELF;
        let Some(name) = event.name.as_deref() else {
            return everything.filter(|_| event.mask.intersects(gone));
        };
        let touch = if event.mask.contains(EventMask::MODIFY) {
            Touch::Written
        } else if event.mask.contains(EventMask::ATTRIB) {
            Touch::Noticed
        } else {
            Touch::Done
        };
        match manifest(name) {
            Some(name) if watched.manifests => Some((Some(name), touch)),
            // Through a link, what is being written is waited for as well.
            _ if watched.links.contains(name) && touch != Touch::Written => everything,
            _ => None,
        }
    }
}

fn manifest(name: &OsStr) -> Option<Arc<str>> {
    name.to_str()
        .filter(|name| is_manifest(name))
        .map(Into::into)
}

const MASK: WatchMask = WatchMask::CREATE
    .union(WatchMask::MODIFY)
    .union(WatchMask::CLOSE_WRITE)
    .union(WatchMask::ATTRIB)
    .union(WatchMask::MOVED_FROM)
    .union(WatchMask::MOVED_TO)
    .union(WatchMask::DELETE)
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::ONLYDIR);
