//! The network namespaces that have a number here: an identity that is never reused, and a name.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt as _, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    message::{Message, attributes, push, u32_at},
    socket::Requests,
};
use crate::netns::{Asking, Mark, name_mark};

/// `struct rtgenmsg`, padded; `NETNSA_NSID` and `NETNSA_FD` (linux/net_namespace.h).
const RTGENMSG: usize = 4;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;

/// One network namespace during its life. The kernel gives a number to the next namespace when the
/// old one ends; a key is given once per run of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetnsKey(pub u64);

impl fmt::Display for NetnsKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "netns#{}", self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) key: NetnsKey,
    pub(super) name: Option<Arc<str>>,
    /// What tells it from others for longer, and [`name_mark`] of all its names.
    pub(super) mark: Mark,
    pub(super) names: Arc<[u64]>,
}

/// What the directory of names has of one namespace.
#[derive(Clone, Debug, Default)]
struct Named {
    names: BTreeSet<Arc<str>>,
    inode: u64,
}

/// The namespaces that have been seen.
pub(super) struct Namespaces {
    directory: PathBuf,
    known: HashMap<i32, Known>,
    /// The names as they were when they were first wanted in this reading.
    names: Option<HashMap<i32, Named>>,
    asking: Asking,
    last: u64,
    /// This thread's own, and its number here, which the kernel gives when it first has to name it.
    own: File,
    own_number: Option<i32>,
}

impl Namespaces {
    /// `directory` is where namespaces have names: `/run/netns`.
    pub(super) fn new(directory: PathBuf) -> io::Result<Self> {
        Ok(Self {
            directory,
            known: HashMap::new(),
            names: None,
            asking: Asking::here(),
            last: 0,
            own: File::open("/proc/thread-self/ns/net")?,
            own_number: None,
        })
    }

    /// Whether a number is that of the host's own namespace.
    pub(super) fn is_own(&mut self, requests: &mut Requests, number: i32) -> io::Result<bool> {
        if self.own_number.is_none() {
            let found = number_of(requests, &self.own)?;
            self.own_number = found.filter(|own| *own >= 0);
        }
        Ok(self.own_number == Some(number))
    }

    /// A reading begins: names that are wanted in it are read anew, all of them once.
    pub(super) fn begin(&mut self) {
        self.names = None;
    }

    /// The namespace of a number.
    pub(super) fn get(&mut self, requests: &mut Requests, number: i32) -> Known {
        if let Some(known) = self.known.get(&number) {
            return known.clone();
        }
        self.last += 1;
        // A name is for people, and a mark for later runs: without them, or without the right to read them,
        // all else works.
        let directory = &self.directory;
        let named = self
            .names
            .get_or_insert_with(|| names(requests, directory).unwrap_or_default())
            .get(&number)
            .cloned()
            .unwrap_or_default();
        let name = named.names.first().cloned();
        let mark = Mark {
            cookie: name.as_deref().map_or(0, |name| {
                let file = open(&self.directory.join(name)).ok();
                // It may be another's meanwhile.
                let file = file.filter(|file| number_of(requests, file).ok() == Some(Some(number)));
                file.map_or(0, |file| self.asking.cookie(&file))
            }),
            inode: named.inode,
            name: name.as_deref().map_or(0, name_mark),
        };
        let known = Known {
            key: NetnsKey(self.last),
            name,
            mark,
            names: named.names.iter().map(|name| name_mark(name)).collect(),
        };
        self.known.insert(number, known.clone());
        known
    }

    /// The namespace has ended, or cannot be told from another of the same number.
    pub(super) fn forget(&mut self, number: i32) {
        self.known.remove(&number);
    }
}

/// The number that RTM_DELNSID takes back.
pub(super) fn decode_number(message: &Message<'_>) -> Option<i32> {
    attributes(message.payload, RTGENMSG)
        .find(|(kind, _)| *kind == NETNSA_NSID)
        .and_then(|(_, value)| u32_at(value, 0))
        .map(u32::cast_signed)
}

/// The names of all namespaces that have a number here: one question for each name.
fn names(requests: &mut Requests, directory: &Path) -> io::Result<HashMap<i32, Named>> {
    let mut all: HashMap<i32, Named> = HashMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Names come and go while the directory is read, and `ip netns add` makes the file first.
        let Ok(file) = open(&entry.path()) else {
            continue;
        };
        if let Ok(Some(number)) = number_of(requests, &file) {
            let named = all.entry(number).or_default();
            named.inode = file.metadata().map_or(0, |data| data.ino());
            let name = entry.file_name().to_string_lossy().into();
            named.names.insert(name);
        }
    }
    Ok(all)
}

/// Opens the file of a name. Whatever else lies there must not hold up the reader.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    options.open(path)
}

/// The number of a namespace here, negative where it has none.
fn number_of(requests: &mut Requests, namespace: &File) -> io::Result<Option<i32>> {
    let mut body = vec![0; RTGENMSG];
    push(&mut body, NETNSA_FD, &namespace.as_raw_fd().to_ne_bytes());
    requests.get(libc::RTM_GETNSID.into(), &body, decode_number)
}
