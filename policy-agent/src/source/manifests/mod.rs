//! Facts from a directory of manifests.
//!
//! Bytes become objects in [`File`], the files together become what is in force in [`Manifests`];
//! both are pure. Only the directory and its watch touch the file system.

mod debounce;
mod digest;
mod directory;
mod file;
mod follow;
mod keeping;
mod kept;
mod links;
mod list;
mod opening;
mod source;
mod store;
mod watch;
mod yaml;

#[cfg(test)]
mod follow_tests;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

pub use digest::Digest;
pub use directory::{list_directory, load, read_file, revision_of};
pub use file::{Entry, Fault, File};
pub use source::{ManifestSource, ManifestSourceError};
pub use store::Manifests;
pub use yaml::{Oddity, Strange};
