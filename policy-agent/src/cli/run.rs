//! `policy-agent run`: enforces what an API server or a directory of manifests says.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use policy_common::Config;
use tokio::signal::unix::{SignalKind, signal};

#[cfg(feature = "kubernetes")]
use crate::source::kubernetes::Access;
use crate::{
    agent::{self, AgentOptions, Controls, UnknownEndpoint},
    datapath::{AttachMode, DEFAULT_PIN_PATH, DEFAULT_RUN_DIR, PinDir, TableSizes},
    source::SourceOptions,
    telemetry::{self, LogFormat},
};

/// Memory for tables of policy unless their sizes are given, in MiB.
const MEMORY_LIMIT: u32 = 512;
/// How long the last log lines wait for a reader.
const PATIENCE: Duration = Duration::from_millis(300);

/// Enforces the NetworkPolicies of a Kubernetes API server, or of a directory of manifests
///
/// Follows Namespaces, Pods and NetworkPolicies, and the interfaces of the network namespace in
/// which it is started. With --manifests, those (Pods with status.podIPs) in *.yaml, *.yml and
/// *.json of the directory; without, those of the API server that --kubeconfig names, else of the
/// one that runs the pod in which the agent is. Says "enforcing" when everything was read once and
/// all programs are attached. While an API server is away, the last state stays enforced.
///
/// SIGHUP reads everything again. SIGTERM and SIGINT end the process, not the enforcement: the last state stays in the kernel until
/// another `run` takes over or `cleanup` removes it. Needs root (CAP_BPF, CAP_NET_ADMIN,
/// CAP_NET_BROADCAST and CAP_PERFMON or CAP_SYS_ADMIN).
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// The directory of manifests; no API server is asked then
    #[arg(long, value_name = "DIR", required = cfg!(not(feature = "kubernetes")))]
    manifests: Option<PathBuf>,
    /// How to reach the API server. Without it, and without --manifests, as the pod in which the
    /// agent runs may (its service account)
    #[cfg(feature = "kubernetes")]
    #[arg(long, value_name = "FILE", conflicts_with = "manifests")]
    kubeconfig: Option<PathBuf>,
    /// Where accepted manifests are kept, so that a restart that finds a file broken goes on with
    /// their last accepted form; a directory of this user's with mode 0700. Give one that survives
    /// a reboot, if that is to hold then too
    #[arg(long, value_name = "DIR", default_value = "/run/policy-agent/state")]
    state_dir: PathBuf,
    /// The name of this node: pods whose spec.nodeName is another one are not looked for here.
    /// Without it, any pod may be here
    #[arg(long, value_name = "NAME", env = "NODE_NAME", default_value = "")]
    node_name: String,
    /// A range from which the cluster gives Services their addresses; once for each. Egress to them is judged
    /// by the pod or the address that the node's proxy puts in their place
    #[arg(long, value_name = "CIDR")]
    service_cidr: Vec<ipnet::IpNet>,
    /// Directory on a BPF file system for maps and links; one agent per directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_PATH)]
    pin_path: PathBuf,
    /// Directory of the control socket, made with mode 0700 where it is missing
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUN_DIR)]
    run_dir: PathBuf,
    /// Start though another agent enforces in this network namespace, from another pin directory:
    /// packets must then pass both. Only with TCX: clsact filters of two agents would have one place
    #[arg(long)]
    allow_second_agent: bool,
    /// While another agent enforces from the pin directory, wait until it ends and go on for it, instead
    /// of refusing to start: for updates that start the next one first
    #[arg(long)]
    wait: bool,
    /// How programs are attached
    #[arg(long, value_enum, default_value_t)]
    attach: AttachMode,
    /// What happens to veth interfaces into other network namespaces behind which no pod is known.
    /// Manifests do not say which interfaces are pods', and other containers have such interfaces
    /// too: by default an interface is enforced from the moment an address behind it is a pod's.
    /// Where all of them are pods', `deny` closes the time before that
    #[arg(long, value_enum, default_value_t)]
    unknown_endpoint: UnknownEndpoint,
    /// Let pods send with other Ethernet addresses than the one that their interface had when
    /// they were first known: for pods that bridge machines of their own
    #[arg(long)]
    allow_any_link_address: bool,
    /// What log lines look like
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    /// Log every decision of the programs. Slow; off, it costs nothing
    #[arg(long)]
    datapath_debug: bool,
    /// Most flows that one pod may open. A pod and its peers together hold at most a quarter of the
    /// table
    #[arg(long, value_name = "N", default_value_t = Config::DEFAULT.pod_opened_limit)]
    max_pod_opened_flows: u32,
    /// Most flows that peers may open to one pod
    #[arg(long, value_name = "N", default_value_t = Config::DEFAULT.peer_opened_limit)]
    max_peer_opened_flows: u32,
    /// Drops that are logged per second and pod, once a burst of five times as many is used up
    #[arg(long, value_name = "N", default_value_t = Config::DEFAULT.event_rate)]
    drop_rate: u32,
    #[command(flatten, next_help_heading = "Sizes of the tables")]
    sizes: TableSizes,
    /// Answer GET /healthz, /readyz and /metrics here, for a kubelet and for Prometheus: an address of the loopback and
    /// a port
    #[cfg(feature = "health")]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = loopback)]
    listen: Option<std::net::SocketAddr>,
    /// Let full tables of policy grow while all of them together take at most so many MiB. Without
    /// it: 512 where no size of such a table is given, else 0, that is, not at all
    #[arg(long, value_name = "MIB", help_heading = "Sizes of the tables")]
    memory_limit: Option<u32>,
}

/// What is said there is for this machine alone.
#[cfg(feature = "health")]
fn loopback(text: &str) -> Result<std::net::SocketAddr, String> {
    let address: std::net::SocketAddr = text
        .parse()
        .map_err(|_| "not an address and a port, as 127.0.0.1:9471 or [::1]:9471".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("not an address of the loopback (127.0.0.1, ::1)".to_owned())
    }
}

/// Sizes that are given are meant.
fn default_memory_limit(sizes: &TableSizes) -> u32 {
    let as_given = TableSizes {
        max_endpoints: sizes.max_endpoints,
        max_flows: sizes.max_flows,
        ..TableSizes::default()
    };
    if *sizes == as_given { MEMORY_LIMIT } else { 0 }
}

/// What the arguments say of where policies come from.
fn source(
    manifests: Option<PathBuf>,
    state: PathBuf,
    #[cfg(feature = "kubernetes")] kubeconfig: Option<PathBuf>,
) -> SourceOptions {
    #[cfg(feature = "kubernetes")]
    if manifests.is_none() {
        let access = kubeconfig.map_or(Access::InCluster, Access::Kubeconfig);
        return SourceOptions::Kubernetes(access);
    }
    SourceOptions::Manifests {
        directory: manifests.unwrap_or_default(),
        state: Some(state),
    }
}

/// Runs until a signal comes.
pub(super) fn run(arguments: RunArgs) -> anyhow::Result<ExitCode> {
    telemetry::init(arguments.log_format, arguments.datapath_debug);
    let (pod_opened_limit, peer_opened_limit) = arguments.sizes.flow_limits(
        arguments.max_pod_opened_flows,
        arguments.max_peer_opened_flows,
    );
    if pod_opened_limit != arguments.max_pod_opened_flows
        || peer_opened_limit != arguments.max_peer_opened_flows
    {
        tracing::warn!(
            "a pod holds at most a quarter of the flow table (--max-flows): it may open \
             {pod_opened_limit} flows, its peers {peer_opened_limit}"
        );
    }
    let config = Config {
        pod_opened_limit,
        peer_opened_limit,
        event_rate: arguments.drop_rate,
        event_burst: arguments.drop_rate.saturating_mul(5),
        debug: arguments.datapath_debug.into(),
        ..Config::DEFAULT
    };
    let options = AgentOptions {
        source: source(
            arguments.manifests,
            arguments.state_dir,
            #[cfg(feature = "kubernetes")]
            arguments.kubeconfig,
        ),
        node_name: arguments.node_name,
        service_cidrs: arguments.service_cidr,
        pins: PinDir::new(arguments.pin_path).with_run_dir(arguments.run_dir),
        allow_second: arguments.allow_second_agent,
        wait: arguments.wait,
        attach: arguments.attach,
        unknown: arguments.unknown_endpoint,
        check_mac: !arguments.allow_any_link_address,
        config,
        #[cfg(feature = "health")]
        health: arguments.listen,
        sizes: arguments.sizes,
        memory_limit: arguments
            .memory_limit
            .unwrap_or(default_memory_limit(&arguments.sizes)),
    };
    // One thread: every socket is to be opened in the namespace in which the process began.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let mut hangup = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
        let mut user = signal(SignalKind::user_defined1()).context("listening for SIGUSR1")?;
        let controls = Controls::default();
        let shutdown = async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                    _ = hangup.recv() => controls.reload.notify_one(),
                    _ = user.recv() => controls.report.notify_one(),
                }
            }
        };
        agent::run(options, shutdown, &controls).await?;
        Ok(ExitCode::SUCCESS)
    });
    // What waits for the kernel or a file ends with the process.
    runtime.shutdown_background();
    telemetry::flush(PATIENCE);
    result
}
