//! An API server as a source: one list and one watch of each kind (of nodes a list now and then), turned
//! into facts as they are read.
//!
//! Nothing of the API's objects is kept but a digest of what policies depend on. Invariants: nothing
//! follows from half a list; whatever is in doubt is listed again; while the server is away, what
//! was last known stays.

mod access;
mod answer;
mod client;
mod collect;
mod decode;
mod follow;
mod items;
mod known;
mod link;
mod list;
mod listen;
mod pace;
mod report;
mod resource;
mod source;
mod survey;
mod trouble;
mod watch;

#[cfg(test)]
mod tests;

pub use access::Access;
pub use pace::Pace;
pub use source::{KubernetesSource, KubernetesSourceError};
pub use trouble::Trouble;
