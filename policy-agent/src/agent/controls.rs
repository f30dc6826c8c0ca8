//! What a running agent can be asked from outside, besides to end.

use tokio::sync::Notify;

/// Requests of the process' owner; each may come at any time.
#[derive(Debug, Default)]
pub struct Controls {
    /// Read everything of the source again.
    pub reload: Notify,
    /// Write the status to the log.
    pub report: Notify,
}
