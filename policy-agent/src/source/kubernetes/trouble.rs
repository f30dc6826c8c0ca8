//! What can go wrong between the agent and an API server, and what each of it means.

use std::time::Duration;

use thiserror::Error;

/// Why something was not learnt.
#[derive(Debug, Error)]
pub enum Trouble {
    /// The configuration cannot be read or used.
    #[error("{0}")]
    Access(String),
    /// No answer, or one that broke off, in the client's words.
    #[error("{0}")]
    Connection(String),
    /// An answer of another status than 200.
    #[error("the server answers {code}: {message}")]
    Status {
        /// The HTTP status, or that of an `ERROR` event.
        code: u16,
        /// What the server says of it.
        message: String,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// Nothing came for so long.
    #[error("the server says nothing for {0:?}")]
    Silent(Duration),
    /// The answer ended before the list did.
    #[error("the list ends in its midst")]
    CutShort,
    /// An answer that is no list of objects.
    #[error("the answer is no list")]
    NoList,
    /// One object that is larger than a server can store.
    #[error("an object is too large to be one")]
    TooLarge,
    /// What came is no JSON.
    #[error("cannot be decoded: {0}")]
    Undecodable(String),
    /// An object without a name.
    #[error("an object without a name: {0}")]
    Nameless(String),
    /// The server is at an earlier version than it was: it was restored from a backup.
    #[error("the server is at version {now}, and was at {before}: it was restored")]
    Restored {
        /// Its version.
        now: String,
        /// The one that was seen before.
        before: String,
    },
}

impl Trouble {
    /// The version that was asked for is not there any more.
    pub(super) fn is_expired(&self) -> bool {
        matches!(self, Self::Status { code: 410, .. })
    }

    /// The version that was asked for is not there yet.
    pub(super) fn is_future(&self) -> bool {
        matches!(self, Self::Status { code: 504, .. })
    }

    /// Whoever asked may not.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Status { code: 403, .. })
    }

    /// What was said before and after cannot be relied on: only a list helps.
    pub(super) fn needs_list(&self) -> bool {
        match self {
            Self::Undecodable(_)
            | Self::Nameless(_)
            | Self::TooLarge
            | Self::NoList
            | Self::Restored { .. } => true,
            Self::Status { .. } => self.is_expired(),
            Self::Access(_) | Self::Connection(_) | Self::Silent(_) | Self::CutShort => false,
        }
    }

    /// How long the server wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
