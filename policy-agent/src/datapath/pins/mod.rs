//! What outlives the agent: the pin directory, and who may change it.
//!
//! Must not know policy or interfaces.

mod bpffs;
mod dir;
mod elsewhere;
mod endpoints;
mod error;
mod file;
mod find;
mod lock;
mod locked;
mod memory;

pub use bpffs::Lifetime;
pub use dir::{DEFAULT_PIN_PATH, PinDir};
pub use error::PinDirError;
pub use file::is_bpffs;
pub(crate) use file::{entries, remove, rename};
pub use lock::DEFAULT_RUN_DIR;
pub use locked::Pins;
pub(crate) use memory::MemoryMap;
pub use memory::{About, MOST_FIRST, Memory};
