//! The source against a server that does what no real one can be made to do.

mod doubt;
mod history;
mod nodes;
mod old;
mod report;
mod server;
mod silence;
mod sockets;
mod start;

use std::time::Duration;

use policy_core::model::Change;
use tempfile::NamedTempFile;
use tokio::time::timeout;

use self::server::{DEADLINE, Server};
use super::{Access, KubernetesSource, Pace};
use crate::source::{Event, Kept, Refusal};

/// Nothing happens by the clock, and failures are tried again at once.
fn pace() -> Pace {
    let hour = Duration::from_secs(3_600);
    Pace {
        patience: DEADLINE,
        quiet: hour,
        probe: DEADLINE,
        relist: (hour, hour),
        recovery: (hour, hour),
        nodes: (hour, hour),
        report: (Duration::from_millis(2), Duration::from_millis(10)),
        named: (Duration::from_millis(2), Duration::from_millis(10)),
        retry: (Duration::from_millis(2), Duration::from_millis(10)),
        ..Pace::default()
    }
}

/// A source that follows a server.
struct Scene {
    server: Server,
    source: KubernetesSource,
    kubeconfig: NamedTempFile,
    refused: Vec<Refusal>,
    kept: Vec<Kept>,
    synced: bool,
}

impl Scene {
    async fn start(pace: Pace) -> Self {
        Self::with(Server::start().await, pace)
    }

    fn with(server: Server, pace: Pace) -> Self {
        let kubeconfig = server.kubeconfig("first");
        let access = Access::Kubeconfig(kubeconfig.path().to_owned());
        Self {
            source: KubernetesSource::open(&access, pace).unwrap(),
            server,
            kubeconfig,
            refused: Vec::new(),
            kept: Vec::new(),
            synced: false,
        }
    }

    /// A source that has listed `items` at `version`, and asked for a watch from there.
    async fn synced(
        pace: Pace,
        version: &str,
        items: &[serde_json::Value],
    ) -> (Self, server::Answer) {
        let mut scene = Self::start(pace).await;
        scene.server.next_list().await.list(version, items).await;
        while !scene.synced {
            scene.event().await;
        }
        let watch = scene.server.next_watch(version).await.begin().await;
        (scene, watch)
    }

    /// The next event; the changes of policies in it, in words, and its revision.
    async fn event(&mut self) -> Option<(Vec<String>, String)> {
        let event = timeout(DEADLINE, self.source.next()).await;
        match event.expect("the source says nothing").unwrap() {
            Event::Batch { changes, revision } => {
                return Some((words(&changes), revision.as_str().to_owned()));
            }
            Event::Synced => self.synced = true,
            Event::Refused(refused) => self.refused = refused,
            Event::Kept(kept) => self.kept = kept,
        }
        None
    }

    /// The next changes of policies, with the revision that they lead to.
    async fn changes(&mut self) -> (Vec<String>, String) {
        loop {
            if let Some((words, revision)) = self.event().await
                && !words.is_empty()
            {
                return (words, revision);
            }
        }
    }
}

fn words(changes: &[Change]) -> Vec<String> {
    let word = |change: &Change| match change {
        Change::Policy(fact) => format!("+{}", fact.name.name),
        Change::PolicyRemoved(name) => format!("-{}", name.name),
        Change::Node(fact) => format!("+{} {:?}", fact.name, fact.addresses),
        Change::NodeRemoved(name) => format!("-{name}"),
        other => format!("{other:?}"),
    };
    changes.iter().map(word).collect()
}
