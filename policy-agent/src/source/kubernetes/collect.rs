//! What the kinds say, put together to what a source says.
//!
//! Owns the revision and the first sync: nobody is told of it before every kind was listed whole.

use std::{collections::VecDeque, sync::Arc};

use policy_core::model::{Change, ObjectName};
use tokio::sync::{mpsc, watch};

use super::{known::Versioned, resource::ALL, survey::Named};
use crate::source::{Event, Kept, Origin, Refusal, Revision, log::PolicyLog};

/// More changes are several batches: a first list of everything is no reason to have all of it
/// twice.
const MOST_CHANGES: usize = 1_000;
/// More refusals of one kind are not listed.
const MOST_REFUSALS: usize = 1_000;

/// What one kind says.
#[derive(Debug)]
pub(super) struct News {
    /// Which of [`ALL`].
    pub(super) kind: usize,
    pub(super) changes: Vec<Versioned>,
    /// What was said up to this version is what the changes lead to.
    pub(super) version: String,
    /// All that is refused and kept of the kind, when it is other than before.
    pub(super) words: Option<(Vec<Refusal>, Vec<Kept>)>,
}

/// What is known of all kinds together.
pub(super) struct Collector {
    versions: [Option<String>; ALL.len()],
    refused: [Vec<Refusal>; ALL.len()],
    kept: [Vec<Kept>; ALL.len()],
    synced: bool,
    log: PolicyLog,
    named: Named,
    reports: watch::Sender<Vec<Refusal>>,
    sender: mpsc::Sender<Event>,
}

impl Collector {
    pub(super) fn new(
        sender: mpsc::Sender<Event>,
        named: Named,
        reports: watch::Sender<Vec<Refusal>>,
    ) -> Self {
        Self {
            versions: Default::default(),
            refused: Default::default(),
            kept: Default::default(),
            synced: false,
            log: PolicyLog::default(),
            named,
            reports,
            sender,
        }
    }

    /// Passes on what the kinds say until nobody listens.
    pub(super) async fn run(mut self, mut news: mpsc::Receiver<News>) {
        loop {
            let one = tokio::select! {
                () = self.sender.closed() => return,
                one = news.recv() => one,
            };
            let Some(one) = one else { return };
            if self.pass(one).await.is_err() {
                return;
            }
        }
    }

    async fn pass(&mut self, news: News) -> Result<(), mpsc::error::SendError<Event>> {
        let News {
            kind,
            changes,
            version,
            words,
        } = news;
        if let Some((refused, kept)) = words {
            let sayable = refused.into_iter().take(MOST_REFUSALS).collect();
            if std::mem::replace(&mut self.refused[kind], sayable) != self.refused[kind] {
                let all = self.refused.concat();
                self.reports.send_replace(all.clone());
                self.sender.send(Event::Refused(all)).await?;
            }
            if std::mem::replace(&mut self.kept[kind], kept) != self.kept[kind] {
                self.sender.send(Event::Kept(self.kept.concat())).await?;
            }
        }
        self.versions[kind] = Some(version);
        let revision = self.revision();
        self.named.hear(&changes);
        let mut changes = VecDeque::from(changes);
        // Nobody waits for a revision of what is not watched.
        while ALL[kind].watched || !changes.is_empty() {
            let some = changes.len().min(MOST_CHANGES);
            let some: Vec<Versioned> = changes.drain(..some).collect();
            self.batch(some, &revision).await?;
            if changes.is_empty() {
                break;
            }
        }
        if !self.synced && self.versions.iter().all(Option::is_some) {
            self.synced = true;
            self.sender.send(Event::Synced).await?;
        }
        Ok(())
    }

    async fn batch(
        &mut self,
        some: Vec<Versioned>,
        revision: &Revision,
    ) -> Result<(), mpsc::error::SendError<Event>> {
        let policies: Vec<(ObjectName, Arc<str>)> = some
            .iter()
            .filter_map(|(change, version)| match change {
                Change::Policy(fact) => Some((fact.name.clone(), Arc::clone(version))),
                _ => None,
            })
            .collect();
        let changes: Vec<Change> = some.into_iter().map(|(change, _)| change).collect();
        self.log.batch(&changes, revision, |name| {
            let (_, version) = policies.iter().find(|(one, _)| one == name)?;
            let resource_version = Arc::clone(version);
            let uid = "".into();
            Some(Origin::Api {
                resource_version,
                uid,
            })
        });
        let revision = revision.clone();
        self.sender.send(Event::Batch { changes, revision }).await
    }

    /// The versions of all kinds that are watched and were listed.
    fn revision(&self) -> Revision {
        let listed = ALL.iter().zip(&self.versions);
        let words = listed.filter_map(|(resource, version)| {
            let version = version.as_ref().filter(|_| resource.watched)?;
            Some(format!("{}@{version}", resource.kind.name()))
        });
        Revision::new(words.collect::<Vec<_>>().join(" "))
    }
}
