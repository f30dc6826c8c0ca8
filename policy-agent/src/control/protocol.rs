//! Requests and answers: a request is one line of JSON, answers are lines of JSON.
//!
//! A request is `{"version":1,"ask":…}`. An answer is `{"version":1,"answer":…}`, or
//! `{"version":1,"error":"…"}`, which is the last line. Invariant: whatever bytes come, reading them
//! gives a request or an error, and takes no more memory than [`MOST_REQUEST`].

use std::{io, net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{ask::Verdict, telemetry::observed::Observed};

/// The version of the protocol.
pub(crate) const VERSION: u32 = 1;
/// Bytes of the longest request.
pub const MOST_REQUEST: usize = 64 << 10;

/// What an agent can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What is enforced and what is not.
    Status,
    /// Whether a packet passes, and why.
    Explain(Explain),
    /// What packets met.
    Observe(Observe),
    /// The flow tables.
    Flows(Flows),
    /// The policies, and whom they isolate.
    Policies,
    /// The last lines of the log.
    Log,
}

/// Which flows are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flows {
    /// Those of this pod; `None`: of all.
    pub pod: Option<String>,
}

/// Which packets are wanted, in the words of the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Observe {
    /// Who sent them.
    pub from: Option<String>,
    /// To whom.
    pub to: Option<String>,
    /// What became of them.
    pub verdict: Option<Verdict>,
    /// Why.
    pub reason: Option<String>,
    /// How many of those that came before.
    pub last: usize,
    /// Those that come, too.
    pub follow: bool,
}

/// A line for an observer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sight {
    /// A packet.
    Packet(Box<Observed>),
    /// So many were lost, because they were not read in time.
    Lost(u64),
}

/// A question about a packet, in the words of the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Explain {
    /// Who sends it.
    pub from: String,
    /// To whom.
    pub to: String,
    /// Port and protocol; `None`: what passes at all.
    pub packet: Option<String>,
    /// Its source port; `None`: one of no connection.
    pub source_port: Option<u16>,
    /// It belongs to a connection, instead of opening one.
    pub is_within: bool,
    /// The source address that it says, where that may be another than the sender's.
    pub source: Option<IpAddr>,
}

/// A request with the version of its protocol.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Envelope {
    pub(super) version: u32,
    pub(super) ask: Request,
}

/// A line of an answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer<T> {
    pub(super) version: u32,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<T>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// Nothing, of whatever type: a derived default would ask more of it.
fn none<T>() -> Option<T> {
    None
}

/// The agent cannot be asked, or does not answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The socket cannot be made.
    #[error("making the control socket {path}")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The agent does not answer.
    #[error("asking the agent")]
    Ask(#[from] io::Error),
    /// What was said cannot be read.
    #[error("reading what was said on the control socket")]
    Line(#[from] serde_json::Error),
    /// The other side speaks another version.
    #[error("the other side speaks version {0} of the protocol, this one {VERSION}")]
    Version(u32),
    /// The agent says why it has no answer.
    #[error("{0}")]
    Refused(String),
}

/// Reads a request from a line.
///
/// # Errors
/// It is none, or of another version.
pub fn read_request(line: &[u8]) -> Result<Request, ControlError> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    // First, so that a request that only another version knows is told what is wrong with it.
    let Version { version } = serde_json::from_slice(line)?;
    if version != VERSION {
        return Err(ControlError::Version(version));
    }
    let Envelope { ask, .. } = serde_json::from_slice(line)?;
    Ok(ask)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn another_version_is_told_apart_from_what_is_no_request() {
        let read = read_request(br#"{"version":1,"ask":"status"}"#);
        assert_eq!(read.unwrap(), Request::Status);
        let other = read_request(br#"{"version":7,"ask":"sing"}"#);
        assert!(matches!(other, Err(ControlError::Version(7))), "{other:?}");
        for line in [&b""[..], b"{}", b"status", b"{\"version\":1}", b"\xff\xfe"] {
            assert!(matches!(read_request(line), Err(ControlError::Line(_))));
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_a_request_or_an_error(line: Vec<u8>) {
            drop(read_request(&line));
        }

        #[test]
        fn so_is_what_looks_like_one(ask in "[\\[\\]{}\",:a-z0-9\\\\]{0,200}") {
            drop(read_request(format!("{{\"version\":1,\"ask\":{ask}}}").as_bytes()));
        }
    }
}
