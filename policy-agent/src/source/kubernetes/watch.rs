//! One watch: the lines of an answer that goes on, as events.

use serde_json::Value;

use super::{
    Trouble,
    answer::Answer,
    client::Connection,
    decode::decode_event,
    list::escaped,
    pace::{Pace, between},
    resource::Resource,
};
use crate::source::contact::Listening;

/// More bytes than any event has.
const MOST: usize = 32 << 20;

/// Something that a watch says.
#[derive(Debug)]
pub(super) enum Said {
    /// An object is there like this.
    There(Value),
    /// An object, as it was last, is gone.
    Gone(Value),
    /// Nothing but the version at which the watch is; always the object's.
    Bookmark(Value),
}

/// A watch that is open.
pub(super) struct Watch {
    answer: Answer,
    resource: &'static Resource,
    line: Vec<u8>,
}

impl Watch {
    /// Opens one for everything after `version`.
    pub(super) async fn open(
        connection: &Connection,
        resource: &'static Resource,
        version: &str,
        pace: &Pace,
        listening: &Listening,
    ) -> Result<Self, Trouble> {
        let question = format!(
            "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={}",
            resource.path,
            between(pace.watch).as_secs().max(1),
            escaped(version),
        );
        // Not compressed: events are small, and a packed one may wait for the next.
        let answer = connection
            .get(&question, false, pace.patience, listening)
            .await?;
        Ok(Self {
            answer,
            resource,
            line: Vec::new(),
        })
    }

    /// What has come since; `None` at the end. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Said>>, Trouble> {
        loop {
            let Some(bytes) = self.answer.next().await? else {
                return Ok(None);
            };
            let mut said = Vec::new();
            let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
            while let Some(part) = lines.next() {
                if self.line.len() + part.len() > MOST {
                    return Err(Trouble::TooLarge);
                }
                self.line.extend_from_slice(part);
                if lines.peek().is_some() {
                    said.extend(self.event()?);
                }
            }
            if !said.is_empty() {
                return Ok(Some(said));
            }
        }
    }

    /// The event of a line that is complete; nothing in an empty line.
    fn event(&mut self) -> Result<Option<Said>, Trouble> {
        let line = std::mem::take(&mut self.line);
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let (kind, object) =
            decode_event(&line, self.resource.keep).map_err(Trouble::undecodable)?;
        match kind.as_str() {
            "ADDED" | "MODIFIED" => Ok(Some(Said::There(object))),
            "DELETED" => Ok(Some(Said::Gone(object))),
            "BOOKMARK" => Ok(Some(Said::Bookmark(object))),
            "ERROR" => Err(Trouble::Status {
                code: object
                    .get("code")
                    .and_then(Value::as_u64)
                    .and_then(|code| code.try_into().ok())
                    .unwrap_or(500),
                message: object
                    .get("message")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned(),
                retry_after: None,
            }),
            other => Err(Trouble::Undecodable(format!("an event of type {other:?}"))),
        }
    }
}
