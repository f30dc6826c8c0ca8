//! `cluster`: Kubernetes to try things on.

use std::{
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use nix::sys::signal::{SigSet, Signal};
use policy_cluster::{Cluster, ControlPlane, cache};

/// The port of a cluster that is there for one thing, beside one that is there already.
const OWN_PORT: u16 = 16453;

/// Starts Kubernetes on this machine: a control plane and two nodes of namespaces (needs root), or the
/// control plane alone
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// Only etcd and kube-apiserver, on the loopback; needs no root
    #[arg(long, global = true)]
    control_plane_only: bool,
    /// The server's port; etcd has the two above
    #[arg(long, global = true, default_value_t = 16443)]
    port: u16,
    /// Where its state is: not below /run or /var/lib, which nodes have of their own
    #[arg(long, global = true, value_name = "DIR")]
    state: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Action {
    /// Builds what is missing, and starts nothing
    Build,
    /// Builds what is missing, starts what does not run, and says how to reach it
    Up {
        /// The agent's image, an OCI archive: it is installed with deploy/kustomize
        #[arg(long, value_name = "FILE")]
        agent: Option<PathBuf>,
    },
    /// Starts one that is used for nothing else, shows the policy of deploy/examples on it, and ends it
    Demo {
        /// The agent's image, an OCI archive
        #[arg(long, value_name = "FILE")]
        agent: PathBuf,
    },
    /// Starts one that is used for nothing else, runs upstream's tests of NetworkPolicy on it, and ends it
    E2e {
        /// The agent's image, an OCI archive
        #[arg(long, value_name = "FILE")]
        agent: PathBuf,
        /// Only tests whose name has this, a regular expression
        #[arg(default_value = "")]
        filter: String,
    },
    /// Ends it, and removes its state
    Down,
    /// Says what runs
    Status,
    /// Leads ports of the loopback into a network namespace
    #[command(hide = true)]
    Forward { namespace: String, ports: Vec<u16> },
    /// Becomes a node
    #[command(hide = true)]
    Node {
        #[arg(long)]
        cluster: String,
        #[arg(long)]
        plan: PathBuf,
        /// For those who read the list of processes
        name: String,
    },
    /// Is a node's first process
    #[command(hide = true)]
    Init {
        #[arg(long)]
        plan: PathBuf,
        /// For those who read the list of processes
        name: String,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.action {
        Action::Forward { namespace, ports } => policy_cluster::forward(namespace, ports),
        Action::Node { cluster, plan, .. } => policy_cluster::become_node(cluster, plan),
        Action::Init { plan, .. } => policy_cluster::init(plan),
        Action::Build => build(arguments.control_plane_only),
        Action::Demo { agent } => with_agent(agent, policy_cluster::tell),
        Action::E2e { agent, filter } => with_agent(agent, |cluster| {
            policy_cluster::run_upstream(cluster, filter)
        }),
        action => {
            let state = match &arguments.state {
                Some(state) => state.clone(),
                None => cache()?.join("cluster"),
            };
            if arguments.control_plane_only {
                control_plane(action, &state, arguments.port)
            } else {
                cluster(action, &state, arguments.port)
            }
        }
    }
}

fn build(control_plane_only: bool) -> Result<()> {
    println!("{}", policy_cluster::kube()?.display());
    if !control_plane_only {
        println!("{}", policy_cluster::agnhost()?.display());
    }
    Ok(())
}

fn control_plane(action: &Action, state: &Path, port: u16) -> Result<()> {
    let mut plane = ControlPlane::lasting(state, port)?;
    match action {
        Action::Up { agent: None } => {
            plane.up()?;
            println!("export KUBECONFIG={}", plane.kubeconfig().display());
        }
        Action::Up { agent: Some(_) } => bail!("without nodes there is no place for an agent"),
        Action::Down => {
            plane.down()?;
            std::fs::remove_dir_all(state)?;
        }
        _ => println!("{}", plane.status()),
    }
    Ok(())
}

fn cluster(action: &Action, state: &Path, port: u16) -> Result<()> {
    let program = std::env::current_exe()?;
    let mut cluster = Cluster::lasting(state, port, &program)?;
    match action {
        Action::Up { agent } => {
            end_when_interrupted()?;
            cluster.up()?;
            if let Some(archive) = agent {
                cluster.import(archive)?;
                cluster.install_agent()?;
            }
            println!("export KUBECONFIG={}", cluster.kubeconfig().display());
            println!("export PATH={}:$PATH", state.display());
        }
        Action::Down => {
            cluster.down()?;
            std::fs::remove_dir_all(state)?;
        }
        _ => println!("{}", cluster.status()),
    }
    Ok(())
}

/// Does something on a cluster of its own.
fn with_agent(agent: &Path, what: impl FnOnce(&Cluster) -> Result<()>) -> Result<()> {
    end_when_interrupted()?;
    let state = cache()?.join("cluster-of-its-own");
    eprintln!("starting a control plane and two nodes");
    let cluster = Cluster::start(&state, OWN_PORT, &std::env::current_exe()?)?;
    cluster.import(agent)?;
    cluster.install_agent()?;
    let done = what(&cluster);
    drop(cluster);
    std::fs::remove_dir_all(state)?;
    done
}

/// A start that is interrupted fails, and so leaves nothing behind.
fn end_when_interrupted() -> Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    thread::spawn(move || {
        if signals.wait().is_ok() {
            policy_cluster::interrupt();
        }
    });
    Ok(())
}
