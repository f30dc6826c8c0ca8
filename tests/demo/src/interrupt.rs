//! SIGINT, SIGTERM and SIGHUP as a question that the run asks between its steps.
//!
//! Owns the signals. The handlers only note that one came, so that the run ends by returning and
//! everything that it made is dropped.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tokio::signal::unix::{SignalKind, signal};

/// How long a wait may go on after a signal.
const NOTICED: Duration = Duration::from_millis(50);

/// Whether the run was told to end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes over the signals.
    pub(crate) fn watch() -> Result<Self> {
        let came = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&came);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the runtime")?;
        let signals = {
            let _inside = runtime.enter();
            [
                SignalKind::interrupt(),
                SignalKind::terminate(),
                SignalKind::hangup(),
            ]
            .into_iter()
            .map(signal)
            .collect::<io::Result<Vec<_>>>()
            .context("listening for signals")?
        };
        thread::spawn(move || {
            runtime.block_on(async {
                for mut signal in signals {
                    let seen = Arc::clone(&seen);
                    tokio::spawn(async move {
                        while signal.recv().await.is_some() {
                            seen.store(true, Ordering::Relaxed);
                        }
                    });
                }
                std::future::pending::<()>().await;
            });
        });
        Ok(Self(came))
    }

    /// Whether one came.
    pub(crate) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error when one came.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(!self.came(), "interrupted");
        Ok(())
    }

    /// Asks until there is an answer; `what` completes "waiting for …".
    ///
    /// # Errors
    /// An error of the question, a signal, or no answer within the time.
    pub(crate) fn until<T>(
        &self,
        what: &str,
        within: Duration,
        mut answer: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(answer) = answer()? {
                return Ok(answer);
            }
            ensure!(
                Instant::now() < deadline,
                "waiting for {what} took longer than {} s",
                within.as_secs()
            );
            self.pause(NOTICED)?;
        }
    }

    /// Lets time pass.
    pub(crate) fn pause(&self, time: Duration) -> Result<()> {
        thread::sleep(time);
        self.check()
    }
}
