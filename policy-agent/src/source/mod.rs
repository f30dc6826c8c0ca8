//! Where facts come from. Every source is a stream of [`SourceEvent`]s; none knows what is done
//! with them.

pub mod manifests;

use policy_core::model::Change;

use manifests::Problem;

/// What a source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceEvent {
    /// These changes belong together: one edit of one file, or the first load. Only real
    /// differences; never empty.
    Changes(Vec<Change>),
    /// Everything that was there at the start has been sent. Once, before it nothing may be decided
    /// or removed.
    Synced,
    /// All objects that are refused now, replacing the last list.
    Problems(Vec<Problem>),
}
