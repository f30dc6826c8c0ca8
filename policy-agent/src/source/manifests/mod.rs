//! Facts from a directory of manifests.
//!
//! Bytes become objects in [`File`], the files together become what is in force in [`Manifests`];
//! both are pure. Only the directory and its watch touch the file system.

mod change;
mod directory;
mod file;
mod problem;
mod store;
mod yaml;

pub use directory::load;
pub use file::{Entry, File};
pub use problem::{Place, Problem};
pub use store::Manifests;
