//! Facts from a directory of manifests.
//!
//! Bytes become objects in [`File`], the files together become what is in force in [`Manifests`];
//! both are pure. Only the directory and its watch touch the file system.

mod change;
mod directory;
mod file;
mod follow;
mod lines;
mod links;
mod list;
mod problem;
mod settle;
mod store;
mod tree;
mod watch;
mod yaml;

#[cfg(test)]
mod follow_tests;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

pub use directory::{list_directory, load, read_file};
pub use file::{Entry, File, Refusal};
pub use follow::{ManifestSource, ManifestSourceError};
pub use problem::{Place, Problem};
pub use store::Manifests;
