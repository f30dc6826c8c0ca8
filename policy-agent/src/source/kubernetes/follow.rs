//! Following one kind: list, watch, and list again whenever something is in doubt.
//!
//! Owns what is known of the kind and when to ask. Invariants: what is known is what the server said
//! last, or was so before it went away; a doubt is never answered by waiting.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    sync::{mpsc, watch as signal},
    task::JoinHandle,
    time::{Duration, Instant, sleep, sleep_until},
};

use super::{
    Access, Pace, Trouble,
    client::Connection,
    collect::News,
    known::{Draft, Known, Versioned, is_before, version_of},
    list::{List, Part, probe},
    pace::{BackOff, between},
    resource::{ALL, Resource},
    watch::{Said, Watch},
};
use crate::{source::contact::Listening, text::Printable};

/// Failures of a watch after which a list is tried instead.
const MOST_FAILURES: u32 = 4;
/// How often a version that a server does not have yet is waited for, and how long each time.
const MOST_FUTURES: u32 = 3;
const FUTURE: Duration = Duration::from_secs(1);

/// The connection that all kinds share.
#[derive(Clone)]
pub(super) struct Link {
    access: Access,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl Link {
    pub(super) fn new(access: Access, connection: Connection) -> Self {
        Self {
            access,
            connection: Arc::new(Mutex::new(Some(connection))),
        }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Option<Connection>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection; with the configuration as it is now, when the last one failed.
    async fn get(&self) -> Result<Connection, Trouble> {
        let current = self.current().clone();
        if let Some(connection) = current {
            return Ok(connection);
        }
        let connection = Connection::open(&self.access).await?;
        *self.current() = Some(connection.clone());
        Ok(connection)
    }

    /// Credentials and authorities change: the next one reads them anew.
    fn forget(&self) {
        *self.current() = None;
    }
}

/// One kind, followed.
pub(super) struct Follow {
    kind: usize,
    resource: &'static Resource,
    link: Link,
    pace: Pace,
    listening: Listening,
    reloads: signal::Receiver<()>,
    sender: mpsc::Sender<News>,
    known: Known,
    /// The version up to which everything is known.
    version: Option<String>,
    relist_at: Instant,
    back_off: BackOff,
    /// Lists that were needed one soon after the other.
    doubts: BackOff,
}

/// A list that runs beside a watch.
struct Beside {
    list: List,
    draft: Draft,
    /// What was known when it began.
    since: Option<String>,
}

impl Follow {
    pub(super) fn new(
        kind: usize,
        link: Link,
        pace: Pace,
        listening: Listening,
        reloads: signal::Receiver<()>,
        sender: mpsc::Sender<News>,
    ) -> Self {
        let resource = &ALL[kind];
        Self {
            kind,
            resource,
            link,
            pace,
            listening,
            reloads,
            sender,
            known: Known::new(resource.kind),
            version: None,
            relist_at: Instant::now(),
            back_off: BackOff::default(),
            doubts: BackOff::default(),
        }
    }

    /// Follows until nobody listens.
    pub(super) async fn run(mut self) {
        while !self.sender.is_closed() {
            match self.list().await {
                Ok(()) => self.watches().await,
                Err(trouble) => self.failed(&trouble).await,
            }
        }
    }

    fn name(&self) -> &'static str {
        self.resource.kind.name()
    }

    /// Takes a complete list while no watch is open.
    async fn list(&mut self) -> Result<(), Trouble> {
        let mut is_asked_again = false;
        loop {
            let mut list = self.begin_list().await?;
            let mut draft = self.known.begin();
            let version = loop {
                match list.next().await? {
                    Part::Items(items) => self.take_items(&mut draft, items)?,
                    Part::End(version) => break version,
                }
            };
            if let Some(before) = &self.version
                && is_before(&version, before)
            {
                if !is_asked_again {
                    is_asked_again = true;
                    continue;
                }
                tracing::warn!(
                    "API server: {}: it is at version {} and was at {}: it was restored, and what it \
                     has now is taken whole",
                    self.name(),
                    Printable(&version),
                    Printable(before)
                );
            }
            self.version = Some(version);
            self.complete(draft).await;
            self.back_off.reset();
            return Ok(());
        }
    }

    async fn begin_list(&self) -> Result<List, Trouble> {
        let connection = self.link.get().await?;
        let listening = self.listening.clone();
        Ok(List::begin(
            connection,
            self.resource,
            &self.pace,
            listening,
        ))
    }

    fn take_items(
        &mut self,
        draft: &mut Draft,
        items: Vec<serde_json::Value>,
    ) -> Result<(), Trouble> {
        items
            .into_iter()
            .try_for_each(|item| self.known.draft(draft, item))
    }

    /// A list is complete.
    async fn complete(&mut self, draft: Draft) {
        let changes = self.known.finish(draft);
        self.listening.listed();
        self.listening.problem(None);
        self.relist_at = Instant::now() + between(self.pace.relist);
        tracing::debug!(
            "API server: {}: {} objects, {} changes",
            self.name(),
            self.known.len(),
            changes.len()
        );
        self.say(changes, true).await;
    }

    /// Tells what changed; `announced` also when nothing did.
    async fn say(&mut self, changes: Vec<Versioned>, announced: bool) {
        self.listening.holds(self.known.len());
        let words = self.known.news();
        if changes.is_empty() && words.is_none() && !announced {
            return;
        }
        let news = News {
            kind: self.kind,
            changes,
            version: self.version.clone().unwrap_or_default(),
            words,
        };
        // Nobody may listen any more.
        let _ = self.sender.send(news).await;
    }

    /// One watch after the other, until only a list helps.
    async fn watches(&mut self) {
        let mut futures = 0;
        while !self.sender.is_closed() {
            let begun = Instant::now();
            let outcome = self.watch().await;
            self.listening.is_watching(false);
            if begun.elapsed() >= self.pace.quiet {
                self.doubts.reset();
            }
            match outcome {
                Ok(()) if begun.elapsed() < self.pace.retry.0 => {
                    self.rest(between(self.pace.retry)).await;
                }
                Ok(()) => {}
                Err(trouble) if trouble.needs_list() => return self.doubt(&trouble).await,
                Err(trouble) if trouble.is_future() && futures < MOST_FUTURES => {
                    futures += 1;
                    self.rest(trouble.retry_after().unwrap_or(FUTURE)).await;
                    continue;
                }
                Err(trouble) if trouble.is_future() => return self.doubt(&trouble).await,
                Err(trouble) => {
                    self.failed(&trouble).await;
                    if self.back_off.failures() >= MOST_FAILURES {
                        return;
                    }
                }
            }
            // Before the next one: is the server's history still the one that was watched?
            match self.probe().await {
                Ok(()) => {}
                Err(trouble) if trouble.needs_list() => return self.doubt(&trouble).await,
                Err(trouble) => {
                    self.failed(&trouble).await;
                    if self.back_off.failures() >= MOST_FAILURES {
                        return;
                    }
                }
            }
        }
    }

    async fn probe(&self) -> Result<(), Trouble> {
        let connection = self.link.get().await?;
        let now = probe(&connection, self.resource, &self.pace, &self.listening).await?;
        self.is_no_other(now, self.version.as_ref())
    }

    /// A server that is at an earlier version than it was has another history.
    fn is_no_other(&self, now: String, before: Option<&String>) -> Result<(), Trouble> {
        match before {
            Some(before) if is_before(&now, before) => Err(Trouble::Restored {
                now,
                before: before.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Listens to one watch until it ends, or is silent though the server is there.
    async fn watch(&mut self) -> Result<(), Trouble> {
        let connection = self.link.get().await?;
        let version = self.version.clone().unwrap_or_default();
        let mut watch = Watch::open(
            &connection,
            self.resource,
            &version,
            &self.pace,
            &self.listening,
        )
        .await?;
        self.listening.is_watching(true);
        self.listening.problem(None);
        let mut quiet_at = Instant::now() + self.pace.quiet;
        let mut asked: Option<Asked> = None;
        let mut is_quiet = false;
        let mut beside: Option<Beside> = None;
        loop {
            tokio::select! {
                () = self.sender.closed() => return Ok(()),
                said = watch.next() => {
                    let Some(said) = said? else { return Ok(()) };
                    (is_quiet, asked) = (false, None);
                    quiet_at = Instant::now() + self.pace.quiet;
                    self.back_off.reset();
                    self.take_said(said, beside.as_mut().map(|beside| &mut beside.draft)).await?;
                }
                answer = answered(&mut asked) => {
                    asked = None;
                    self.is_no_other(answer?, self.version.as_ref())?;
                    // Once, nothing may have happened. Twice, a bookmark should have come.
                    if is_quiet {
                        return Ok(());
                    }
                    is_quiet = true;
                    quiet_at = Instant::now() + self.pace.quiet;
                }
                () = sleep_until(quiet_at), if asked.is_none() => {
                    asked = Some(self.ask(&connection));
                }
                part = next_part(&mut beside) => match part {
                    Ok(Part::Items(items)) => if let Some(beside) = &mut beside {
                        self.take_items(&mut beside.draft, items)?;
                    },
                    Ok(Part::End(version)) => if let Some(Beside { draft, since, .. }) = beside.take() {
                        self.is_no_other(version, since.as_ref())?;
                        self.complete(draft).await;
                    },
                    Err(trouble) => {
                        beside = None;
                        let wait = self.trouble(&trouble);
                        self.relist_at = Instant::now() + wait;
                    }
                },
                () = sleep_until(self.relist_at), if beside.is_none() => {
                    beside = Some(Beside {
                        list: self.begin_list().await?,
                        draft: self.known.begin(),
                        since: self.version.clone(),
                    });
                }
                reload = self.reloads.changed() => {
                    if reload.is_err() {
                        return Ok(());
                    }
                    self.relist_at = Instant::now();
                }
            }
        }
    }

    fn ask(&self, connection: &Connection) -> Asked {
        let (connection, resource) = (connection.clone(), self.resource);
        let (pace, listening) = (self.pace.clone(), self.listening.clone());
        Asked(tokio::spawn(async move {
            probe(&connection, resource, &pace, &listening).await
        }))
    }

    async fn take_said(
        &mut self,
        said: Vec<Said>,
        mut draft: Option<&mut Draft>,
    ) -> Result<(), Trouble> {
        let mut changes = Vec::new();
        let mut announced = false;
        for one in said {
            let (Said::There(object) | Said::Gone(object) | Said::Bookmark(object)) = &one;
            let version = version_of(object).map(str::to_owned);
            let change = match one {
                Said::There(object) => self.known.there(object, draft.as_deref_mut())?,
                Said::Gone(object) => self.known.gone(object, draft.as_deref_mut())?,
                Said::Bookmark(_) => {
                    self.version = version.or(self.version.take());
                    continue;
                }
            };
            announced |= self.resource.announced;
            self.version = version.or(self.version.take());
            changes.extend(change);
        }
        self.say(changes, announced).await;
        Ok(())
    }

    /// Something is in doubt: a list follows, later each time that this comes again soon.
    async fn doubt(&mut self, trouble: &Trouble) {
        tracing::warn!(
            "API server: {}: {}: everything is listed again",
            self.name(),
            Printable(trouble)
        );
        if self.doubts.failures() > 0 {
            let wait = self.doubts.next(&self.pace, None);
            self.rest(wait).await;
        } else {
            self.doubts.next(&self.pace, None);
        }
    }

    /// It failed: says so and waits.
    async fn failed(&mut self, trouble: &Trouble) {
        // What was missed while it was away may not be told by a watch.
        let soon = Instant::now() + between(self.pace.recovery);
        self.relist_at = self.relist_at.min(soon);
        self.link.forget();
        let wait = self.trouble(trouble);
        self.rest(wait).await;
    }

    /// Says what failed, and how long to leave it.
    fn trouble(&mut self, trouble: &Trouble) -> Duration {
        let wait = self.back_off.next(&self.pace, trouble.retry_after());
        let text = format!("{}", Printable(trouble));
        if self.back_off.failures() == 1 {
            tracing::warn!(
                "API server: {}: {text}; what was last known stays in force",
                self.name()
            );
        } else {
            tracing::debug!("API server: {}: {text}", self.name());
        }
        self.listening.problem(Some(text));
        wait
    }

    /// Waits, or until somebody wants everything read again, or nobody listens.
    async fn rest(&mut self, wait: Duration) {
        tokio::select! {
            () = sleep(wait) => {}
            () = self.sender.closed() => {}
            changed = self.reloads.changed() => {
                // Nobody who could want anything is left: the sender is closed soon.
                if changed.is_err() {
                    sleep(wait).await;
                }
            }
        }
    }
}

/// A question that is being answered; dropping it ends that.
struct Asked(JoinHandle<Result<String, Trouble>>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The answer to a question; never, when none was asked.
async fn answered(asked: &mut Option<Asked>) -> Result<String, Trouble> {
    match asked {
        Some(asked) => match (&mut asked.0).await {
            Ok(answer) => answer,
            Err(error) => Err(Trouble::Connection(error.to_string())),
        },
        None => std::future::pending().await,
    }
}

/// The next part of a list; never, when there is none.
async fn next_part(beside: &mut Option<Beside>) -> Result<Part, Trouble> {
    match beside {
        Some(beside) => beside.list.next().await,
        None => std::future::pending().await,
    }
}
