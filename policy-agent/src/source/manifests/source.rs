//! A directory of manifests as others hold it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc as std_mpsc},
    time::Duration,
};

use thiserror::Error;
use tokio::sync::{Notify, mpsc, oneshot};

use super::{follow::Thread, kept::StateFile};
use crate::source::Event;

/// Events that may wait for the receiver before reading pauses.
const BACKLOG: usize = 64;

/// How long the end of this waits until what is accepted is written.
const LAST_WORDS: Duration = Duration::from_millis(500);

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
    /// No thread for it could be started.
    #[error("starting the thread that reads manifests")]
    Thread(#[source] io::Error),
    /// The thread that follows it ended.
    #[error("the thread that reads manifests ended")]
    Ended,
}

/// A directory of manifests, followed until this is dropped.
#[derive(Debug)]
pub struct ManifestSource {
    directory: PathBuf,
    events: mpsc::Receiver<Event>,
    end: oneshot::Receiver<ManifestSourceError>,
    /// Disconnected when the thread is over.
    alive: std_mpsc::Receiver<()>,
    reload: Arc<Notify>,
}

impl Drop for ManifestSource {
    /// What was accepted last is kept for the next run, unless the disk is slower than an end may be.
    fn drop(&mut self) {
        self.events.close();
        if self.alive.recv_timeout(LAST_WORDS) == Err(std_mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!(
                "what was accepted last is not kept for the next run: writing takes too long"
            );
        }
    }
}

impl ManifestSource {
    /// Begins to follow a directory.
    ///
    /// # Errors
    ///
    /// When there is no such directory, or it cannot be watched.
    ///
    /// What was accepted is kept in `state` for the next run, and taken from there where a file
    /// cannot be read now.
    pub fn open(directory: &Path, state: Option<&Path>) -> Result<Self, ManifestSourceError> {
        let failed = |source| ManifestSourceError::Watch {
            directory: directory.to_owned(),
            source,
        };
        let path = std::path::absolute(directory).map_err(failed)?;
        let (sender, events) = mpsc::channel(BACKLOG);
        let (ended, end) = oneshot::channel();
        let (begun, begin) = std_mpsc::channel();
        let (living, alive) = std_mpsc::channel();
        let reload = Arc::new(Notify::new());
        let thread = Thread {
            state: state.map(|state| StateFile::new(state, &path)),
            directory: path.clone(),
            reload: Arc::clone(&reload),
            sender,
        };
        let run = move || {
            let _living: std_mpsc::Sender<()> = living;
            if let Err(error) = thread.run(&begun) {
                // Nobody may listen any more.
                let _ = ended.send(error);
            }
        };
        std::thread::Builder::new()
            .name("manifests".to_owned())
            .spawn(run)
            .map_err(ManifestSourceError::Thread)?;
        begin
            .recv()
            .unwrap_or(Err(io::ErrorKind::BrokenPipe.into()))
            .map_err(failed)?;
        Ok(Self {
            directory: path,
            events,
            end,
            alive,
            reload,
        })
    }

    /// The directory, as an absolute path.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Reads the whole directory again.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// The next event. Cancel safe.
    ///
    /// # Errors
    ///
    /// When the directory cannot be followed any longer: nothing more will come.
    pub async fn next(&mut self) -> Result<Event, ManifestSourceError> {
        if let Some(event) = self.events.recv().await {
            return Ok(event);
        }
        Err((&mut self.end).await.unwrap_or(ManifestSourceError::Ended))
    }
}
