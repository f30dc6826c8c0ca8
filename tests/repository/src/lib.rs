//! What can be read of the repository without building it: its files, cargo's account of its packages,
//! and the lists in `deny.toml`.
//!
//! Must not know what is demanded of them; the tests do.

mod deny;
mod files;
mod metadata;

use std::path::PathBuf;

pub use self::{
    deny::{Deny, is_allowed},
    files::{files, read},
    metadata::{Dependency, Metadata, Package},
};

/// The workspace's root.
#[must_use]
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}
