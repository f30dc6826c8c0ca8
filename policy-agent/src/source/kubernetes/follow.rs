//! Following one kind: list, watch, and list again whenever something is in doubt.
//!
//! Owns what is known of the kind and when to ask. Invariants: what is known is what the server said
//! last, or was so before it went away; a doubt is never answered by waiting.

use tokio::{
    sync::{mpsc, watch as signal},
    time::{Duration, Instant, sleep},
};

use super::{
    Pace, Trouble,
    collect::News,
    known::{Draft, Known, Versioned, is_before},
    link::Link,
    list::{List, Part, probe},
    pace::{BackOff, between},
    resource::{ALL, Resource},
};
use crate::{source::contact::Listening, text::Printable};

/// Failures of a watch after which a list is tried instead.
const MOST_FAILURES: u32 = 4;
/// How often a version that a server does not have yet is waited for, and how long each time.
const MOST_FUTURES: u32 = 3;
const FUTURE: Duration = Duration::from_secs(1);

/// One kind, followed.
pub(super) struct Follow {
    kind: usize,
    pub(super) resource: &'static Resource,
    pub(super) link: Link,
    pub(super) pace: Pace,
    pub(super) listening: Listening,
    pub(super) reloads: signal::Receiver<()>,
    pub(super) sender: mpsc::Sender<News>,
    pub(super) known: Known,
    /// The version up to which everything is known.
    pub(super) version: Option<String>,
    /// From where the next watch begins: the version before that of the last event. Several objects
    /// may be written at one version, and a watch that breaks off may have told of some of them.
    pub(super) resume: Option<String>,
    pub(super) relist_at: Instant,
    pub(super) back_off: BackOff,
    /// Lists that were needed one soon after the other.
    doubts: BackOff,
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
            known: Known::new(resource),
            version: None,
            resume: None,
            relist_at: Instant::now(),
            back_off: BackOff::default(),
            doubts: BackOff::default(),
        }
    }

    /// Follows by watches until nobody listens.
    pub(super) async fn run(mut self) {
        while !self.sender.is_closed() {
            match self.list().await {
                Ok(()) => self.watches().await,
                Err(trouble) => self.failed(&trouble).await,
            }
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.resource.kind.name()
    }

    /// Takes a complete list while no watch is open.
    pub(super) async fn list(&mut self) -> Result<(), Trouble> {
        let mut is_asked_again = false;
        loop {
            let mut list = self.begin_list(is_asked_again).await?;
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
            self.reached(Some(version), true);
            self.complete(draft).await;
            self.back_off.reset();
            return Ok(());
        }
    }

    /// Begins a list; with `latest`, one that no server answers with what it happens to remember.
    pub(super) async fn begin_list(&self, latest: bool) -> Result<List, Trouble> {
        let connection = self.link.get().await?;
        let listening = self.listening.clone();
        Ok(List::begin(
            connection,
            self.resource,
            &self.pace,
            listening,
            latest,
            None,
        ))
    }

    pub(super) fn take_items(
        &mut self,
        draft: &mut Draft,
        items: Vec<serde_json::Value>,
    ) -> Result<(), Trouble> {
        items
            .into_iter()
            .try_for_each(|item| self.known.draft(draft, item))
    }

    /// Everything before a version is known; with `whole`, also all that was written at it.
    pub(super) fn reached(&mut self, version: Option<String>, whole: bool) {
        let Some(version) = version else { return };
        if whole {
            self.resume = Some(version.clone());
        } else if self.version.as_ref() != Some(&version) {
            self.resume = self.version.take();
        }
        self.version = Some(version);
    }

    /// A list is complete.
    pub(super) async fn complete(&mut self, draft: Draft) {
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
    pub(super) async fn say(&mut self, changes: Vec<Versioned>, announced: bool) {
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
    pub(super) fn is_no_other(&self, now: String, before: Option<&String>) -> Result<(), Trouble> {
        match before {
            Some(before) if is_before(&now, before) => Err(Trouble::Restored {
                now,
                before: before.clone(),
            }),
            _ => Ok(()),
        }
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
    pub(super) async fn failed(&mut self, trouble: &Trouble) {
        // What was missed while it was away may not be told by a watch.
        let soon = Instant::now() + between(self.pace.recovery);
        self.relist_at = self.relist_at.min(soon);
        self.link.forget();
        let wait = self.trouble(trouble);
        self.rest(wait).await;
    }

    /// Says what failed, and how long to leave it.
    pub(super) fn trouble(&mut self, trouble: &Trouble) -> Duration {
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
