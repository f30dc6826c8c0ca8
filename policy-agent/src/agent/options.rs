//! How the agent is told to run, and why it stops.

use policy_common::Config;

use crate::{
    control::ControlError,
    datapath::{AttachError, AttachMode, LoadError, PinDir, PinDirError, TableError, TableSizes},
    node::NodeError,
    source::{SourceError, SourceOptions},
};

/// What happens to interfaces that lead into another network namespace while no pod is known
/// behind them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum UnknownEndpoint {
    /// Everything but the host and address resolution is denied until the pod is known
    Deny,
    /// They are left alone until an address behind them is a pod's; from then on they are a pod's
    /// for as long as they exist, also when the pod's manifest is removed
    #[default]
    Ignore,
}

/// How the agent runs.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Where policies, namespaces and pods come from.
    pub source: SourceOptions,
    /// The name of this node, `spec.nodeName` of its pods; empty when it is not known: then any pod
    /// may be here.
    pub node_name: String,
    /// Ranges from which the cluster gives Services their addresses.
    pub service_cidrs: Vec<ipnet::IpNet>,
    /// Where maps, links and the lock are.
    pub pins: PinDir,
    /// Another agent may enforce in this network namespace, from another pin directory.
    pub allow_second: bool,
    /// While another agent has the pin directory, it is waited for instead of given up.
    pub wait: bool,
    /// How programs are attached.
    pub attach: AttachMode,
    /// What happens to interfaces without a known pod.
    pub unknown: UnknownEndpoint,
    /// Frames of a pod must carry the Ethernet address that its interface had when the pod was first known.
    pub check_mac: bool,
    /// What the programs are told.
    pub config: Config,
    /// Sizes of the tables.
    pub sizes: TableSizes,
    /// Where `/healthz` and `/readyz` are answered, if anywhere.
    #[cfg(feature = "health")]
    pub health: Option<std::net::SocketAddr>,
    /// Memory up to which full tables of policy grow, in MiB; 0: they do not.
    pub memory_limit: u32,
}

/// The agent stopped.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The pin directory cannot be used.
    #[error(transparent)]
    Pins(#[from] PinDirError),
    /// Another agent enforces here.
    #[error(
        "another agent ({process}, --pin-path {}) enforces in this network namespace: stop it and \
         clean up after it (policy-agent cleanup --pin-path {}), or, if packets are to pass both, \
         start this one with --allow-second-agent (TCX only)",
        pin_path.display(), pin_path.display()
    )]
    SecondAgent {
        /// Its pin directory.
        pin_path: std::path::PathBuf,
        /// Its process, for people.
        process: String,
    },
    /// Other agents cannot be looked for.
    #[error("looking for other agents in this network namespace")]
    Claim(#[source] std::io::Error),
    /// The programs could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Programs of an earlier run could not be found.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The source cannot be followed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The node's network cannot be followed.
    #[error("following the node's network")]
    Node(#[from] NodeError),
    /// The network namespace of this process cannot be told from others.
    #[error("finding out which network namespace this is")]
    Namespace(#[source] std::io::Error),
    /// A thread could not be started.
    #[error("starting a thread")]
    Thread(#[source] std::io::Error),
    /// A task or thread ended that must not end.
    #[error("the task that follows {0} ended")]
    TaskEnded(&'static str),
    /// The control socket cannot be made.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A table could not be written.
    #[error("writing what programs are told of the node")]
    Table(#[from] TableError),
}
