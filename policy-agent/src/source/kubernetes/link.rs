//! The connection that all kinds share, opened anew with the configuration of the day after a failure.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Access, Trouble, client::Connection};

/// The connection that all kinds share.
#[derive(Clone)]
pub(super) struct Link {
    access: Access,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl Link {
    pub(super) fn new(access: Access, connection: Connection) -> Self {
        Self {
            access,
            connection: Arc::new(Mutex::new(Some(connection))),
        }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Option<Connection>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection; with the configuration as it is now, when the last one failed.
    pub(super) async fn get(&self) -> Result<Connection, Trouble> {
        let current = self.current().clone();
        if let Some(connection) = current {
            return Ok(connection);
        }
        let connection = Connection::open(&self.access).await?;
        *self.current() = Some(connection.clone());
        Ok(connection)
    }

    /// Credentials and authorities change: the next one reads them anew.
    pub(super) fn forget(&self) {
        *self.current() = None;
    }
}
