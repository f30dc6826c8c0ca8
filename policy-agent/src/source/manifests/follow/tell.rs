//! What is said of files that are read, and of a directory without any, besides what is refused.

use std::sync::Arc;

use super::{super::file::File, Follow};
use crate::{convert, text::Printable};

/// Says what of a file counts otherwise than somebody may think.
pub(super) fn tell(name: &Arc<str>, file: &File) {
    for (api_version, kind) in file.ignored() {
        let (name, version) = (Printable(name), Printable(api_version));
        let shown = Printable(kind);
        if convert::is_foreign_policy(kind) {
            tracing::warn!("{name}: {shown} of {version} has no effect here");
        } else {
            tracing::info!("{name}: {shown} of {version} has no effect here");
        }
    }
    for (object, strange) in file.oddities() {
        tracing::warn!(
            "{}:{}: {}: {}: {}",
            Printable(name),
            strange.line,
            Printable(object),
            Printable(&strange.field),
            Printable(&strange.oddity)
        );
    }
}

impl Follow {
    /// Says that there are no manifests: at the start, and when the last one went.
    pub(super) fn tell_empty(&mut self, is_start: bool) {
        if self.unlisted.is_some() {
            return;
        }
        let has_files = self.manifests.files().next().is_some();
        let directory = Printable(self.directory.display());
        match (has_files, is_start, self.had_files) {
            (false, true, true) => tracing::warn!(
                "there are no manifests in {directory}: everything that an earlier run knew is gone"
            ),
            (false, true, false) => tracing::warn!("there are no manifests in {directory}"),
            (false, false, true) => tracing::warn!(
                "there are no manifests in {directory} any more: everything that they said is gone"
            ),
            _ => {}
        }
        self.had_files = has_files;
    }
}
