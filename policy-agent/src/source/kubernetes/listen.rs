//! One watch, with what goes on beside it: the question whether the server is there, and the list that
//! everything is compared with from time to time.
//!
//! Invariant: what the watch says while a list is read counts, not the list.

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    Trouble,
    client::Connection,
    follow::Follow,
    known::{Draft, Versioned, version_of},
    list::{List, Part, probe},
    watch::{Said, Watch},
};

/// A list that runs beside a watch.
struct Beside {
    list: List,
    draft: Draft,
    /// What was known when it began.
    since: Option<String>,
    /// It is of the most recent state for sure.
    latest: bool,
}

impl Follow {
    /// Listens to one watch until it ends, or is silent though the server is there.
    pub(super) async fn watch(&mut self) -> Result<(), Trouble> {
        let connection = self.link.get().await?;
        let version = self.resume.clone().unwrap_or_default();
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
        let mut is_latest_wanted = false;
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
                    Ok(Part::End(version)) => if let Some(Beside { draft, since, latest, .. }) = beside.take() {
                        match self.is_no_other(version, since.as_ref()) {
                            Ok(()) => self.complete(draft).await,
                            // Perhaps it only remembers too little.
                            Err(_) if !latest && connection.remembers() => {
                                is_latest_wanted = true;
                                self.relist_at = Instant::now();
                            }
                            Err(trouble) => return Err(trouble),
                        }
                    },
                    Err(trouble) => {
                        beside = None;
                        let wait = self.trouble(&trouble);
                        self.relist_at = Instant::now() + wait;
                    }
                },
                () = sleep_until(self.relist_at), if beside.is_none() => {
                    let latest = std::mem::take(&mut is_latest_wanted);
                    beside = Some(Beside {
                        list: self.begin_list(latest).await?,
                        draft: self.known.begin(),
                        since: self.version.clone(),
                        latest,
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

    /// What was taken in is told whatever comes behind it: no list would find that again.
    async fn take_said(
        &mut self,
        said: Vec<Said>,
        mut draft: Option<&mut Draft>,
    ) -> Result<(), Trouble> {
        let mut changes = Vec::new();
        let mut announced = false;
        let mut outcome = Ok(());
        for one in said {
            match self.take(one, draft.as_deref_mut(), &mut announced) {
                Ok(change) => changes.extend(change),
                Err(trouble) => {
                    outcome = Err(trouble);
                    break;
                }
            }
        }
        self.say(changes, announced).await;
        outcome
    }

    fn take(
        &mut self,
        one: Said,
        draft: Option<&mut Draft>,
        announced: &mut bool,
    ) -> Result<Option<Versioned>, Trouble> {
        let (Said::There(object) | Said::Gone(object) | Said::Bookmark(object)) = &one;
        let version = version_of(object).map(str::to_owned);
        let change = match one {
            Said::There(object) => self.known.there(object, draft)?,
            Said::Gone(object) => self.known.gone(object, draft)?,
            Said::Bookmark(_) => {
                self.reached(version, true);
                return Ok(None);
            }
        };
        *announced |= self.resource.announced;
        self.reached(version, false);
        Ok(change)
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
