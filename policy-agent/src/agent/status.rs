//! What `status` shows, and the socket on which it is asked.
//!
//! Owns the form of the answer. Invariant: asking changes nothing and needs the right to open the
//! socket, which is the agent's user's alone.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use policy_core::model::ObjectName;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
};

use super::{Agent, SourceStatus, endpoints};
use crate::datapath::{Mechanism, PinDir};

/// `status` cannot be asked or answered.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The socket cannot be made.
    #[error("making the status socket {path}")]
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
    /// The answer cannot be read: agent and command are of different versions.
    #[error("reading the agent's answer")]
    Answer(#[from] serde_json::Error),
}

/// What a running agent knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The process.
    pub agent: AgentStatus,
    /// Where facts come from, and how much of what was said there is in force.
    pub sources: Vec<SourceStatus>,
    /// Enforced interfaces.
    pub endpoints: Vec<EndpointStatus>,
    /// Interfaces that should be enforced and are not, or not wholly.
    pub unenforced: Vec<UnenforcedInterface>,
    /// Interfaces that lead into other network namespaces and are left alone, because no pod is
    /// known behind them.
    pub ignored: Vec<String>,
    /// Objects that are refused, with the reason.
    pub refused: Vec<String>,
    /// Addresses that several pods claim.
    pub conflicts: Vec<String>,
    /// Tables that could not be brought up to date.
    pub failures: Vec<String>,
    /// Operations that wait because of them.
    pub waiting: usize,
}

/// The agent's process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Its id.
    pub pid: u32,
    /// Whether everything was known once, so that policies are enforced.
    pub enforcing: bool,
    /// `tcx` or `clsact`.
    pub attach: String,
}

/// One enforced interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// Name on the host.
    pub interface: String,
    /// Index on the host.
    pub ifindex: u32,
    /// Number of the endpoint.
    pub id: u16,
    /// Namespace and name; `null` while the pod is not known: then only the host reaches it.
    pub pod: Option<String>,
    /// Why the pod is not known.
    pub problem: Option<String>,
    /// The pod's addresses.
    pub addresses: Vec<String>,
    /// Connections to the pod.
    pub ingress: Isolation,
    /// Connections from the pod.
    pub egress: Isolation,
}

/// One direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// Whether only what rules allow passes.
    pub isolated: bool,
    /// The policies that isolate.
    pub policies: Vec<String>,
}

/// An interface that is not enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnenforcedInterface {
    /// Name on the host.
    pub interface: String,
    /// Why.
    pub reason: String,
}

impl Isolation {
    fn of(policies: &[ObjectName], unknown: bool) -> Self {
        Self {
            isolated: unknown || !policies.is_empty(),
            policies: policies.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Agent {
    pub(super) fn snapshot(&self) -> Snapshot {
        let endpoints = self.resolver.endpoints().map(|endpoint| EndpointStatus {
            interface: self.name(endpoint.ifindex),
            ifindex: endpoint.ifindex,
            id: endpoint.id.0,
            pod: endpoint
                .pod
                .filter(|_| !endpoint.unknown)
                .map(ToString::to_string),
            problem: self.why_unknown(endpoint.ifindex),
            addresses: endpoint.addresses.iter().map(ToString::to_string).collect(),
            ingress: Isolation::of(endpoint.ingress, endpoint.unknown),
            egress: Isolation::of(endpoint.egress, endpoint.unknown),
        });
        let unenforced = self
            .unenforced
            .iter()
            .map(|(ifindex, reason)| (self.name(*ifindex), reason.clone()))
            .chain(self.outside_tc())
            .map(|(interface, reason)| UnenforcedInterface { interface, reason });
        let ignored = self.interfaces.values().filter(|interface| {
            interface.sandbox.is_some()
                && endpoints::is_enforceable(interface)
                && !self.endpoints.contains_key(&interface.ifindex)
        });
        Snapshot {
            agent: AgentStatus {
                pid: std::process::id(),
                enforcing: self.enforcing,
                attach: match self.attacher.mechanism() {
                    Mechanism::Tcx => "tcx".into(),
                    Mechanism::Clsact => "clsact".into(),
                },
            },
            sources: vec![self.source.status()],
            endpoints: endpoints.collect(),
            unenforced: unenforced.collect(),
            ignored: ignored
                .map(|interface| interface.name.to_string())
                .collect(),
            refused: self.source.refused().collect(),
            conflicts: self.conflicts.clone(),
            failures: self.failures.clone(),
            waiting: self.datapath.waiting(),
        }
    }

    fn why_unknown(&self, ifindex: u32) -> Option<String> {
        if self.moved.contains(&ifindex) {
            return Some("its other end moved to another network namespace".into());
        }
        self.bind_problems.get(&ifindex).map(ToString::to_string)
    }

    /// Interfaces into other namespaces whose traffic does not pass TC here as a veth's does.
    fn outside_tc(&self) -> impl Iterator<Item = (String, String)> {
        self.interfaces
            .values()
            .filter(|one| one.sandbox.is_some() && !endpoints::is_enforceable(one))
            .map(|one| {
                let reason = format!("interfaces of kind {} are not enforced", one.kind);
                (one.name.to_string(), reason)
            })
    }
}

/// Answers one question.
pub(super) type Answer = oneshot::Sender<String>;

/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens the socket; questions come through the channel. The lock of the pin directory is held: a
/// socket that is there belongs to nobody.
pub(super) fn listen(pins: &PinDir) -> Result<mpsc::Receiver<Answer>, StatusError> {
    let path = pins.socket();
    let open = || {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    let listener = open().map_err(|source| StatusError::Listen {
        path: path.clone(),
        source,
    })?;
    let (questions, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client, questions.clone()));
        }
    });
    Ok(receiver)
}

async fn serve(mut client: UnixStream, questions: mpsc::Sender<Answer>) {
    let answer = async {
        let (answer, answered) = oneshot::channel();
        questions.send(answer).await.ok()?;
        let text = answered.await.ok()?;
        client.write_all(text.as_bytes()).await.ok()?;
        client.shutdown().await.ok()
    };
    // A client that went away, or does not read, concerns nobody else.
    let _: Result<Option<()>, _> = tokio::time::timeout(PATIENCE, answer).await;
}

pub(super) fn reply(answer: Answer, snapshot: &Snapshot) {
    if let Ok(text) = serde_json::to_string(snapshot) {
        // The client may be gone.
        let _: Result<(), String> = answer.send(text);
    }
}

/// Asks the agent of a pin directory. `None`: no agent runs there.
///
/// # Errors
/// It does not answer in time, or not in a form that this version reads.
pub async fn query(pins: &PinDir) -> Result<Option<Snapshot>, StatusError> {
    let ask = async {
        let mut stream = match UnixStream::connect(pins.socket()).await {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(None);
            }
            other => other?,
        };
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(Some(serde_json::from_str(&text)?))
    };
    tokio::time::timeout(PATIENCE, ask)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
