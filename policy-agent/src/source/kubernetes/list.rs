//! One complete list of one kind, page by page, in a task of its own.
//!
//! What is read of it goes to whoever holds the [`List`], in parts; only its last part says that it
//! was complete. Must not know what is held already.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    Trouble, answer::Answer, client::Connection, decode::decode, items::Splitter, pace::Pace,
    resource::Resource,
};
use crate::source::contact::Listening;

/// Parts that may wait for their reader.
const BACKLOG: usize = 4;

/// A part of a list.
#[derive(Debug)]
pub(super) enum Part {
    /// Some of its objects.
    Items(Vec<Value>),
    /// There are no more. The version at which the list is true.
    End(String),
}

/// A list that is being read; dropping it ends that.
#[derive(Debug)]
pub(super) struct List {
    parts: mpsc::Receiver<Result<Part, Trouble>>,
    task: JoinHandle<()>,
}

impl Drop for List {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl List {
    /// Begins to read one; with `only`, of nothing but the object of this name.
    pub(super) fn begin(
        connection: Connection,
        resource: &'static Resource,
        pace: &Pace,
        listening: Listening,
        latest: bool,
        only: Option<&str>,
    ) -> Self {
        let (sender, parts) = mpsc::channel(BACKLOG);
        let patience = pace.patience;
        let only = only.map(|name| escaped(&format!("metadata.name={name}")));
        let task = tokio::spawn(async move {
            let reading = Reading {
                connection,
                resource,
                patience,
                listening,
                latest,
                only,
                sender,
            };
            reading.run().await;
        });
        Self { parts, task }
    }

    /// The next part. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Part, Trouble> {
        self.parts.recv().await.unwrap_or(Err(Trouble::CutShort))
    }
}

struct Reading {
    connection: Connection,
    resource: &'static Resource,
    patience: Duration,
    listening: Listening,
    /// The most recent state is wanted, whatever it costs.
    latest: bool,
    /// A field selector, as a value in a question.
    only: Option<String>,
    sender: mpsc::Sender<Result<Part, Trouble>>,
}

/// What is around the items of a page.
#[derive(Deserialize)]
struct Page {
    metadata: PageMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    resource_version: String,
    #[serde(default)]
    r#continue: String,
}

impl Reading {
    async fn run(self) {
        let last = match self.pages().await {
            Ok(version) => Ok(Part::End(version)),
            Err(trouble) => Err(trouble),
        };
        // Nobody may listen any more.
        let _ = self.sender.send(last).await;
    }

    /// Without a version, the most recent state is what is asked for: no server may answer with what
    /// it happens to remember. An old one would ask etcd for all of it, for every node: it may, unless it
    /// remembered too little.
    async fn pages(&self) -> Result<String, Trouble> {
        let Resource { path, page, .. } = self.resource;
        let mut question = format!("{path}?limit={page}");
        let is_old = self.connection.is_old(self.patience, &self.listening);
        if !self.latest && is_old.await? {
            question.push_str("&resourceVersion=0");
        }
        if let Some(only) = &self.only {
            question.push_str("&fieldSelector=");
            question.push_str(only);
        }
        let mut version = None;
        loop {
            let compressed = true;
            let answer = self
                .connection
                .get(&question, compressed, self.patience, &self.listening)
                .await?;
            let Page { metadata } = self.page(answer).await?;
            // All pages of one list are of one version, which the first one says.
            let version = version.get_or_insert(metadata.resource_version);
            if metadata.r#continue.is_empty() {
                return Ok(std::mem::take(version));
            }
            let next = escaped(&metadata.r#continue);
            question = format!("{path}?limit={page}&continue={next}");
        }
    }

    async fn page(&self, mut answer: Answer) -> Result<Page, Trouble> {
        let mut splitter = Splitter::new();
        loop {
            let bytes = tokio::time::timeout(self.patience, answer.next())
                .await
                .map_err(|_| Trouble::Silent(self.patience))??;
            let Some(bytes) = bytes else {
                break;
            };
            let mut items = Vec::new();
            splitter.feed(&bytes, |item| {
                items.push(decode(item, self.resource.keep).map_err(Trouble::undecodable)?);
                Ok(())
            })?;
            if !items.is_empty() && self.sender.send(Ok(Part::Items(items))).await.is_err() {
                return Err(Trouble::CutShort);
            }
        }
        serde_json::from_slice(&splitter.finish()?).map_err(Trouble::undecodable)
    }
}

impl Trouble {
    pub(super) fn undecodable(error: serde_json::Error) -> Self {
        Self::Undecodable(error.to_string())
    }
}

/// A text as a value in a question.
pub(super) fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// The version at which the server is now, asked with the smallest list there is.
pub(super) async fn probe(
    connection: &Connection,
    resource: &Resource,
    pace: &Pace,
    listening: &Listening,
) -> Result<String, Trouble> {
    let question = format!("{}?limit=1", resource.path);
    let asked = async {
        let mut answer = connection
            .get(&question, true, pace.probe, listening)
            .await?;
        let mut splitter = Splitter::new();
        while let Some(bytes) = answer.next().await? {
            splitter.feed(&bytes, |_| Ok(()))?;
        }
        let page: Page =
            serde_json::from_slice(&splitter.finish()?).map_err(Trouble::undecodable)?;
        Ok(page.metadata.resource_version)
    };
    tokio::time::timeout(pace.probe, asked)
        .await
        .unwrap_or(Err(Trouble::Silent(pace.probe)))
}
