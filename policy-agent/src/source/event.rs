//! What a source says.

use std::{fmt, sync::Arc};

use policy_core::model::Change;

use super::{Kept, Refusal};

/// One thing that a source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Once these changes are in force, what the source said up to this revision is.
    Batch {
        /// What belongs together: one edit of one file, or the first load. Only real differences;
        /// none when something was written that changes no fact.
        changes: Vec<Change>,
        /// What the source said, all changes before these included.
        revision: Revision,
    },
    /// Everything that was there at the start has been sent. Once, before it nothing may be decided
    /// or removed.
    Synced,
    /// All objects that are refused now, replacing the last list.
    Refused(Vec<Refusal>),
    /// All objects that are in force in an earlier form than the source's, replacing the last list.
    Kept(Vec<Kept>),
}

/// A name of what a source said, as whoever wrote it can tell: for manifests the digest of the
/// directory's content, for an API server its resource versions.
///
/// Equal revisions are the same content. They have no order, and do not count events: content that
/// was there before has its old revision again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revision(Arc<str>);

impl Revision {
    /// From its text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
