//! What is said of files that are read, besides what is refused.

use std::sync::Arc;

use super::super::file::File;
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
