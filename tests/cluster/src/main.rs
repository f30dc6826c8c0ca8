//! `cluster`: a control plane to try things on.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use policy_cluster::{ControlPlane, cache};

/// Starts etcd and kube-apiserver on this machine's loopback
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// Nodes are not there yet: only the control plane is
    #[arg(long, global = true)]
    control_plane_only: bool,
    /// The server's port; etcd has the two above
    #[arg(long, global = true, default_value_t = 16443)]
    port: u16,
    /// Where its state is
    #[arg(long, global = true, value_name = "DIR")]
    state: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Action {
    /// Builds what is missing, and starts nothing
    Build,
    /// Builds what is missing, starts what does not run, and says how to reach it
    Up,
    /// Ends it, and removes its state
    Down,
    /// Says what runs
    Status,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if !arguments.control_plane_only {
        bail!("there are no nodes yet: give --control-plane-only");
    }
    if matches!(arguments.action, Action::Build) {
        println!("{}", policy_cluster::build()?.display());
        return Ok(());
    }
    let state = match arguments.state {
        Some(state) => state,
        None => cache()?.join("cluster"),
    };
    let mut plane = ControlPlane::lasting(&state, arguments.port)?;
    match arguments.action {
        Action::Up => {
            plane.up()?;
            println!("export KUBECONFIG={}", plane.kubeconfig().display());
        }
        Action::Down => {
            plane.down()?;
            std::fs::remove_dir_all(&state)?;
        }
        Action::Build => {}
        Action::Status => println!("{}", plane.status()),
    }
    Ok(())
}
