//! Where facts come from. Every source is a stream of [`Event`]s; none knows what is done with
//! them.
//!
//! A source says what changed, names with a [`Revision`] what it has said so far, and lists what it
//! refuses. Which source it is decides [`SourceOptions`] once; nobody else asks.

mod contact;
mod event;
mod kept;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
mod log;
pub mod manifests;
mod refusal;
pub mod store;

use std::path::PathBuf;

use thiserror::Error;

pub use contact::{Contact, WatchStatus};
pub use event::{Event, Revision};
pub use kept::Kept;
use manifests::{ManifestSource, ManifestSourceError};
pub use refusal::{Origin, Place, Problem, Refusal};
pub use store::Store;

/// Which source to follow, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceOptions {
    /// A directory of manifests.
    Manifests {
        /// The directory.
        directory: PathBuf,
        /// Where what was accepted is kept for the next run.
        state: Option<PathBuf>,
    },
    /// An API server.
    #[cfg(feature = "kubernetes")]
    Kubernetes(kubernetes::Access),
}

/// Why a source cannot be followed.
#[derive(Debug, Error)]
pub enum SourceError {
    /// A directory of manifests.
    #[error(transparent)]
    Manifests(#[from] ManifestSourceError),
    /// An API server.
    #[cfg(feature = "kubernetes")]
    #[error(transparent)]
    Kubernetes(#[from] kubernetes::KubernetesSourceError),
}

/// A source that is followed until this is dropped.
#[derive(Debug)]
pub enum Source {
    /// A directory of manifests.
    Manifests(ManifestSource),
    /// An API server.
    #[cfg(feature = "kubernetes")]
    Kubernetes(kubernetes::KubernetesSource),
}

impl Source {
    /// Begins to follow a source.
    ///
    /// # Errors
    ///
    /// When it is not there, or cannot be followed.
    pub fn open(options: &SourceOptions) -> Result<Self, SourceError> {
        match options {
            SourceOptions::Manifests { directory, state } => {
                let source = ManifestSource::open(directory, state.as_deref())?;
                Ok(Self::Manifests(source))
            }
            #[cfg(feature = "kubernetes")]
            SourceOptions::Kubernetes(access) => {
                let pace = kubernetes::Pace::default();
                let source = kubernetes::KubernetesSource::open(access, pace)?;
                Ok(Self::Kubernetes(source))
            }
        }
    }

    /// What `status` calls it.
    pub fn name(&self) -> String {
        match self {
            Self::Manifests(source) => format!("manifests in {}", source.directory().display()),
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(source) => format!("API server {}", source.server()),
        }
    }

    /// How its connections stand; none for a source that has none.
    pub fn contact(&self) -> Contact {
        match self {
            Self::Manifests(_) => Contact::default(),
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(source) => source.contact().clone(),
        }
    }

    /// The next event. Cancel safe.
    ///
    /// # Errors
    ///
    /// When the source cannot be followed any longer: nothing more will come.
    pub async fn next(&mut self) -> Result<Event, SourceError> {
        match self {
            Self::Manifests(source) => Ok(source.next().await?),
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(source) => Ok(source.next().await?),
        }
    }

    /// Reads everything again, as if all of it had changed.
    pub fn reload(&self) {
        match self {
            Self::Manifests(source) => source.reload(),
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(source) => source.reload(),
        }
    }
}
