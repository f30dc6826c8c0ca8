//! What the source said, and how much of it is in force.
//!
//! Invariant: a revision is in force when every change of its batch is in the tables that packets
//! meet, and nothing of it waits for room.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use policy_core::model::Change;

use super::Agent;
use crate::source::{Event, Kept, Refusal, Revision, WatchStatus};

/// More lines of one kind at once are counted instead of written to the log.
const MOST_LINES: usize = 20;

/// The source as `status` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Which source it is.
    pub name: String,
    /// Whether everything that was there at the start has been read.
    pub synced: bool,
    /// The revision in force; `null` before there is one.
    pub revision: Option<String>,
    /// How long the oldest change that was read and is not in force has waited, in milliseconds; `null`
    /// when none does.
    #[serde(default)]
    pub behind_ms: Option<u64>,
    /// Since when; not shown.
    #[serde(skip)]
    pub behind_since: Option<Instant>,
    /// How many refusals there are.
    pub refused: usize,
    /// How many objects are in force in an earlier form than the source's.
    pub kept: usize,
    /// How it stands with each kind that is listened for; empty for manifests.
    pub watches: Vec<WatchStatus>,
}

/// What a source has said.
#[derive(Debug)]
pub(super) struct SourceState {
    name: String,
    pub(super) synced: bool,
    /// Revisions whose changes were applied, each with the turn that writes them, and since when.
    applied: VecDeque<(u64, Revision, Instant)>,
    in_force: Option<Revision>,
    refused: Vec<Refusal>,
    kept: Vec<String>,
}

impl SourceState {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            synced: false,
            applied: VecDeque::new(),
            in_force: None,
            refused: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// What turn `turn` and those before it wrote is in force; says how long each revision took.
    pub(super) fn settled(&mut self, turn: u64) -> Vec<Duration> {
        let mut took = Vec::new();
        while let Some((_, revision, since)) =
            self.applied.pop_front_if(|(written, ..)| *written <= turn)
        {
            self.in_force = Some(revision);
            took.push(since.elapsed());
        }
        took
    }

    /// Whether anything was applied that is not in force yet.
    pub(super) fn is_any_pending(&self) -> bool {
        !self.applied.is_empty()
    }

    /// What is refused, one line each.
    pub(super) fn refused(&self) -> impl Iterator<Item = String> {
        self.refused.iter().map(ToString::to_string)
    }

    pub(super) fn status(&self) -> SourceStatus {
        SourceStatus {
            name: self.name.clone(),
            synced: self.synced,
            revision: self.in_force.as_ref().map(ToString::to_string),
            // A duration when somebody wants to know: it grows while nothing happens.
            behind_ms: None,
            behind_since: self.applied.front().map(|(.., since)| *since),
            refused: self.refused.len(),
            kept: self.kept.len(),
            // Asked for when somebody wants to know: they change while nothing happens.
            watches: Vec::new(),
        }
    }

    /// What is in force in an earlier form, one line each.
    pub(super) fn kept(&self) -> &[String] {
        &self.kept
    }

    fn refuse(&mut self, refused: Vec<Refusal>) {
        let known: BTreeSet<String> = self.refused().collect();
        self.refused = refused;
        let new = self.refused.iter();
        let new = new.filter(|refusal| !known.contains(&refusal.to_string()));
        for line in listed(Refusal::lines(new).into_iter()) {
            tracing::error!("refused: {line}");
        }
    }

    fn keep(&mut self, kept: &[Kept]) {
        let known: BTreeSet<String> = std::mem::take(&mut self.kept).into_iter().collect();
        self.kept = kept.iter().map(ToString::to_string).collect();
        let new = self.kept.iter().filter(|line| !known.contains(*line));
        for line in listed(new.cloned()) {
            tracing::warn!("kept: {line}");
        }
    }
}

/// Lines for the log: the first ones, and how many more there are.
fn listed(lines: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    let mut lines = lines.fuse();
    let first: Vec<String> = lines.by_ref().take(MOST_LINES).collect();
    let more = lines.count();
    let more = (more > 0).then(|| format!("{more} more, which `status` lists"));
    first.into_iter().chain(more)
}

impl Agent {
    fn on_change(&mut self, change: Change) {
        let events = match &change {
            Change::Pod(pod) => self.binder.pod(pod),
            Change::PodRemoved(name) => self.binder.pod_removed(name),
            Change::Node(_) | Change::NodeRemoved(_) => return self.peer_node(change),
            Change::Service(_) | Change::ServiceRemoved(_) => return self.service(change),
            _ => Vec::new(),
        };
        let owners = self.owners(&change);
        self.change(change);
        self.note_former(owners);
        for event in events {
            self.on_bind(event);
        }
    }

    pub(super) fn on_source(&mut self, event: Event) {
        match event {
            Event::Batch { changes, revision } => {
                for change in changes {
                    self.on_change(change);
                }
                // Also where nothing changed: the turn says that it is written.
                self.dirty = true;
                let applied = (self.turn + 1, revision, Instant::now());
                self.source.applied.push_back(applied);
            }
            Event::Synced => {
                self.source.synced = true;
                self.spare_bridges();
            }
            Event::Refused(refused) => self.source.refuse(refused),
            Event::Kept(kept) => self.source.keep(&kept),
        }
    }

    /// Once what was applied is what packets meet, its revision is in force: also those of pods
    /// that became endpoints by it.
    pub(super) fn settle_source(&mut self) {
        let is_in_force = self.phase.is_begun()
            && self.waiting == 0
            && self.source.is_any_pending()
            && !self.is_any_untried()
            && !self.is_any_outdated();
        if is_in_force {
            let took = self.source.settled(self.written);
            #[cfg(feature = "health")]
            took.iter().for_each(|took| self.measured.in_force(*took));
            #[cfg(not(feature = "health"))]
            drop(took);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_lines_are_the_first_ones_and_a_count() {
        let lines = |count: usize| listed((0..count).map(|n| n.to_string())).collect::<Vec<_>>();
        assert_eq!(lines(2), ["0", "1"]);
        let many = lines(5_000);
        assert_eq!(many.len(), MOST_LINES + 1);
        assert_eq!(many[MOST_LINES], "4980 more, which `status` lists");
    }
}
