//! Why a table could not be read or written.

use aya::maps::MapError;

/// The kernel refuses to read or write a table.
#[derive(Debug, thiserror::Error)]
#[error("table {table}")]
pub struct TableError {
    /// Its name.
    pub table: &'static str,
    source: MapError,
}

impl TableError {
    /// For `map_err`.
    pub(crate) fn of(table: &'static str) -> impl Fn(MapError) -> Self {
        move |source| Self { table, source }
    }
}
