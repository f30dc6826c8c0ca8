//! The socket on which the status is asked.
//!
//! Owns a thread that answers from what was published last, so that neither a busy loop nor a slow
//! client holds anybody up. Invariant: asking changes nothing and needs the right to open the
//! socket, which is the agent's user's alone from its first moment.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::{
        fs::{DirBuilderExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::io::AsyncReadExt as _;

use super::snapshot::Snapshot;
use crate::{datapath::PinDir, source::Contact, telemetry};

/// `status` cannot be asked or answered.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The socket cannot be made.
    #[error("making the status socket {path}")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The agent does not answer.
    #[error("asking the agent")]
    Ask(#[from] io::Error),
    /// The answer cannot be read: agent and command are of different versions.
    #[error("reading the agent's answer")]
    Answer(#[from] serde_json::Error),
}

/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clients that are served at a time; further ones are turned away.
const MOST_CLIENTS: usize = 16;
/// The pause after the kernel refused to accept a client: it may have no descriptors left.
const REFUSED: Duration = Duration::from_millis(100);

/// The snapshot that is in force.
#[derive(Clone, Debug)]
pub(super) struct Published(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    snapshot: Mutex<Arc<Snapshot>>,
    began: Instant,
    /// When it was confirmed last, in milliseconds since `began`.
    confirmed: AtomicU64,
    /// How the source's connections stand, which nobody tells the loop.
    contact: Contact,
}

impl Published {
    pub(super) fn new(contact: Contact) -> Self {
        Self(Arc::new(Shared {
            contact,
            snapshot: Mutex::default(),
            began: Instant::now(),
            confirmed: AtomicU64::new(0),
        }))
    }
}

impl Published {
    /// Puts a snapshot in the place of the last one.
    pub(super) fn publish(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        *self
            .0
            .snapshot
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = snapshot;
        self.confirm();
    }

    /// The last snapshot is as new as now.
    pub(super) fn confirm(&self) {
        self.0.confirmed.store(self.age(0), Ordering::Relaxed);
    }

    /// Milliseconds since a time.
    fn age(&self, since: u64) -> u64 {
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        now.saturating_sub(since)
    }

    /// The snapshot with its age.
    pub(super) fn get(&self) -> Snapshot {
        let shared = self.0.snapshot.lock();
        let mut snapshot = Snapshot::clone(&shared.unwrap_or_else(PoisonError::into_inner));
        snapshot.agent.age_ms = self.age(self.0.confirmed.load(Ordering::Relaxed));
        snapshot.agent.pid = std::process::id();
        snapshot.agent.lost_log_lines = telemetry::lost_lines();
        for source in &mut snapshot.sources {
            source.watches = self.0.contact.status();
            let behind = source.behind_since.map(|since| since.elapsed().as_millis());
            source.behind_ms = behind.map(|ms| ms.try_into().unwrap_or(u64::MAX));
        }
        snapshot
    }
}

/// Opens the socket and answers. The lock of the pin directory is held: a socket that is there
/// belongs to nobody.
pub(super) fn listen(pins: &PinDir, published: Published) -> Result<(), StatusError> {
    let path = pins.socket();
    let failed = |source| StatusError::Listen {
        path: path.clone(),
        source,
    };
    let listener = open(&path).map_err(failed)?;
    thread::Builder::new()
        .name("status".into())
        .spawn(move || serve(&listener, &published))
        .map_err(failed)?;
    Ok(())
}

/// Makes the socket in a directory that nobody else can enter, and moves it to its place when only
/// its owner can open it.
fn open(path: &Path) -> io::Result<UnixListener> {
    let private = path.with_extension("private");
    let fresh = private.join("socket");
    let absent = |result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    if let Some(run) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(run)?;
    }
    absent(fs::remove_dir_all(&private))?;
    fs::DirBuilder::new().mode(0o700).create(&private)?;
    let listener = UnixListener::bind(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
    fs::rename(&fresh, path)?;
    fs::remove_dir(&private)?;
    Ok(listener)
}

fn serve(listener: &UnixListener, published: &Published) {
    let clients = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((client, _)) = listener.accept() else {
            thread::sleep(REFUSED);
            continue;
        };
        if clients.fetch_add(1, Ordering::Relaxed) >= MOST_CLIENTS {
            clients.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (published, counted) = (published.clone(), Arc::clone(&clients));
        let served = thread::Builder::new()
            .name("status client".into())
            .spawn(move || {
                // A client that went away, or does not read, concerns nobody else.
                drop(answer(client, &published));
                counted.fetch_sub(1, Ordering::Relaxed);
            });
        if served.is_err() {
            clients.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn answer(mut client: UnixStream, published: &Published) -> io::Result<()> {
    client.set_write_timeout(Some(PATIENCE))?;
    let text = serde_json::to_vec(&published.get())?;
    client.write_all(&text)
}

/// Asks the agent of a pin directory. `None`: no agent runs there.
///
/// # Errors
/// It does not answer in time, or not in a form that this version reads.
pub async fn query(pins: &PinDir) -> Result<Option<Snapshot>, StatusError> {
    let ask = async {
        let mut stream = match tokio::net::UnixStream::connect(pins.socket()).await {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(None);
            }
            other => other?,
        };
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(Some(serde_json::from_str(&text)?))
    };
    tokio::time::timeout(PATIENCE, ask)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_socket_is_its_owners_and_answers_while_a_client_does_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = open(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let published = Published::new(Contact::default());
        let many = Snapshot {
            refused: vec!["x".repeat(1_000); 4_000],
            ..Snapshot::default()
        };
        published.publish(many);
        thread::spawn(move || serve(&listener, &published));
        let _silent = UnixStream::connect(&path).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.set_read_timeout(Some(PATIENCE / 2)).unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        let snapshot: Snapshot = serde_json::from_str(&text).unwrap();
        assert_eq!(snapshot.refused.len(), 4_000);
    }

    #[test]
    fn a_snapshot_that_nobody_confirms_grows_old() {
        let published = Published::new(Contact::default());
        published.publish(Snapshot::default());
        thread::sleep(Duration::from_millis(30));
        assert!(published.get().agent.age_ms >= 30);
        published.confirm();
        assert!(published.get().agent.age_ms < 30);
    }
}
