//! What can go wrong in a conversation with the kernel over netlink.

use std::io;

use thiserror::Error;

/// A failure of the conversation with the kernel.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetlinkError {
    /// A netlink socket could not be made or set up.
    #[error("cannot open a netlink socket ({step})")]
    Open {
        /// The step that failed.
        step: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Addresses inside other network namespaces cannot be followed.
    #[error("cannot listen to other network namespaces: CAP_NET_BROADCAST is needed")]
    ListenAll(#[source] io::Error),
    /// The kernel refused a request.
    #[error("the kernel refused to say its {what}")]
    Request {
        /// What was asked for.
        what: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A socket could not be read.
    #[error("cannot read a netlink socket")]
    Receive(#[source] io::Error),
}
