//! What can be wrong with a field, as a type: whoever has more to say about one kind of mistake
//! matches it.

use serde_json::Value;
use thiserror::Error;

use super::{
    block::InvalidBlock, name::InvalidName, node::InvalidNode, peer::InvalidPeer, pod::InvalidPod,
    policy::InvalidPolicy, port::InvalidPort, selector::InvalidSelector, service::InvalidService,
};

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// The API does not have the field.
    #[error("unknown field")]
    Unknown,
    /// The key is there twice.
    #[error("is given twice")]
    Twice,
    /// The field is absent or empty.
    #[error("must be given")]
    Missing,
    /// A value of another type.
    #[error("is {found}, not {wanted}")]
    Type {
        /// What it is.
        found: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// A name, label value or the like that is not of its form.
    #[error("{text:?} {error}")]
    Name {
        /// What it is.
        text: String,
        /// Why it cannot be.
        error: InvalidName,
    },
    /// A key that is not of its form.
    #[error("the key {0}")]
    Key(InvalidName),
    /// A namespace for an object that lives in none.
    #[error("must be absent: this kind lives in no namespace")]
    Namespaced,
    /// More than an object's annotations may be together.
    #[error("must not exceed {0} KiB together")]
    TooLarge(usize),
    /// A kind that is almost one that we know.
    #[error("{found:?} is unknown; did you mean {meant:?}?")]
    Kind {
        /// What it says.
        found: String,
        /// What is probably meant.
        meant: &'static str,
    },
    /// A version of a known kind that we cannot read.
    #[error("{found:?} has no {kind} that is understood here; use {known:?}")]
    Version {
        /// What it says.
        found: String,
        /// The kind.
        kind: &'static str,
        /// The version that is read.
        known: &'static str,
    },
    /// Peers.
    #[error(transparent)]
    Peer(#[from] InvalidPeer),
    /// Blocks.
    #[error(transparent)]
    Block(#[from] InvalidBlock),
    /// Ports.
    #[error(transparent)]
    Port(#[from] InvalidPort),
    /// Selectors.
    #[error(transparent)]
    Selector(#[from] InvalidSelector),
    /// Policies.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// Pods.
    #[error(transparent)]
    Pod(#[from] InvalidPod),
    /// Services.
    #[error(transparent)]
    Service(#[from] InvalidService),
    /// Nodes.
    #[error(transparent)]
    Node(#[from] InvalidNode),
}

impl Problem {
    /// A value of another type than is wanted.
    pub fn not_a(value: &Value, wanted: &'static str) -> Self {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        Self::Type { found, wanted }
    }

    pub(super) fn name(text: &str, error: InvalidName) -> Self {
        let text = text.to_owned();
        Self::Name { text, error }
    }
}
