//! Following a kind without watching it: nodes, which are large and written often, and of which only the
//! addresses count.
//!
//! They are listed now and then, the less often the more there are, and one is asked for by its name when a
//! pod is on it and it is not known. Invariants: what was known stays while it may not be asked for; however
//! many names pods make up, a few are asked for at a time.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use policy_core::model::Change;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{
    Trouble,
    follow::Follow,
    known::Versioned,
    list::{List, Part},
    pace::between,
};
use crate::text::Printable;

/// Names that are asked for at a time, one question each.
const MOST_AT_ONCE: usize = 8;
/// Names that wait; the others are left to the next list.
const MOST_WAITING: usize = 1_000;
/// Names that are remembered as told.
const MOST_TOLD: usize = 20_000;

/// Names of nodes that pods have.
pub(super) type Names = mpsc::UnboundedReceiver<Arc<str>>;

/// Tells each name of a node that a pod has, once.
pub(super) struct Named {
    told: BTreeSet<Arc<str>>,
    sender: mpsc::UnboundedSender<Arc<str>>,
}

impl Named {
    pub(super) fn new() -> (Self, Names) {
        let (sender, names) = mpsc::unbounded_channel();
        let told = BTreeSet::new();
        (Self { told, sender }, names)
    }

    /// Takes what changes.
    pub(super) fn hear(&mut self, changes: &[Versioned]) {
        for (change, _) in changes {
            match change {
                Change::Pod(pod) if !pod.finished && is_name(&pod.node) => self.tell(&pod.node),
                // A pod may bring it back.
                Change::NodeRemoved(name) => {
                    self.told.remove(name);
                }
                _ => {}
            }
        }
    }

    fn tell(&mut self, name: &Arc<str>) {
        if self.told.contains(name) {
            return;
        }
        if self.told.len() >= MOST_TOLD {
            self.told.clear();
        }
        self.told.insert(Arc::clone(name));
        // Nobody may listen any more.
        let _ = self.sender.send(Arc::clone(name));
    }
}

/// Whether a text can be the name of a node, and stand in a selector.
fn is_name(text: &str) -> bool {
    let is_of_names = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    !text.is_empty() && text.len() <= 253 && text.bytes().all(is_of_names)
}

impl Follow {
    /// Follows by lists until nobody listens.
    pub(super) async fn survey(mut self, mut names: Names) {
        let mut waiting: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut is_refused = false;
        let mut whole_at = Instant::now();
        let mut named_at = whole_at;
        self.say_how_often();
        while !self.sender.is_closed() {
            tokio::select! {
                () = self.sender.closed() => return,
                () = sleep_until(whole_at) => {
                    let outcome = self.list().await;
                    whole_at = Instant::now();
                    if self.outcome(outcome, &mut is_refused).await {
                        waiting.clear();
                        whole_at = Instant::now() + self.until_next();
                    }
                }
                name = names.recv() => {
                    let Some(name) = name else { return };
                    if waiting.is_empty() {
                        named_at = Instant::now() + between(self.pace.named);
                    }
                    if !self.known.has(&name) && waiting.len() < MOST_WAITING {
                        waiting.insert(name);
                    }
                }
                () = sleep_until(named_at), if !waiting.is_empty() => {
                    let some: Vec<_> = waiting.iter().take(MOST_AT_ONCE).cloned().collect();
                    for name in some {
                        let outcome = self.one(&name).await;
                        if !self.outcome(outcome, &mut is_refused).await {
                            break;
                        }
                        waiting.remove(&name);
                    }
                    if is_refused {
                        waiting.clear();
                    }
                    named_at = Instant::now() + between(self.pace.named);
                }
                reload = self.reloads.changed() => {
                    if reload.is_err() {
                        return;
                    }
                    whole_at = Instant::now();
                }
            }
        }
    }

    /// After what time everything is listed again.
    fn until_next(&self) -> Duration {
        self.say_how_often();
        between(self.pace.nodes) + self.for_all()
    }

    fn for_all(&self) -> Duration {
        let count = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        self.pace.each_node.saturating_mul(count)
    }

    fn say_how_often(&self) {
        self.listening
            .listed_every(self.pace.nodes.1 + self.for_all());
    }

    /// Asks for the one of this name.
    async fn one(&mut self, name: &str) -> Result<(), Trouble> {
        let connection = self.link.get().await?;
        let listening = self.listening.clone();
        let only = Some(name);
        let mut list = List::begin(connection, self.resource, &self.pace, listening, true, only);
        let mut changes = Vec::new();
        while let Part::Items(items) = list.next().await? {
            for item in items {
                changes.extend(self.known.there(item, None)?);
            }
        }
        self.say(changes, false).await;
        self.back_off.reset();
        Ok(())
    }

    /// Whether there is nothing to try again soon. Whoever may not list nodes goes on without them.
    async fn outcome(&mut self, outcome: Result<(), Trouble>, is_refused: &mut bool) -> bool {
        match outcome {
            Ok(()) => {
                *is_refused = false;
                self.listening.problem(None);
                true
            }
            Err(trouble) if trouble.is_refusal() => {
                self.refused(&trouble, std::mem::replace(is_refused, true))
                    .await;
                true
            }
            Err(trouble) => {
                self.failed(&trouble).await;
                false
            }
        }
    }

    async fn refused(&mut self, trouble: &Trouble, is_said: bool) {
        if !is_said {
            tracing::warn!(
                remedy = "give the agent's role the verb list for nodes",
                "API server: {}: {}: tunnel packets of pods to nodes that are not known are not dropped",
                self.name(),
                Printable(trouble)
            );
        }
        self.listening.problem(Some(Printable(trouble).to_string()));
        // Nothing waits for what cannot be had.
        self.say(Vec::new(), true).await;
    }
}
