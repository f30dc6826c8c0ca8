//! `policy-agent cleanup`: takes everything out of the kernel.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;

use crate::datapath::{Attacher, DEFAULT_PIN_PATH, Mechanism, PinDir, PinDirError, interface_name};

/// Ends enforcement: removes every program, link, filter, map and pin of a pin directory
///
/// Leaves clsact qdiscs that others use, and says what it removed. Does nothing when there is nothing.
/// Must run in the network namespace in which the agent ran; refuses while an agent runs.
#[derive(Debug, clap::Args)]
pub(super) struct CleanupArgs {
    /// The pin directory of the agent
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_PATH)]
    pin_path: PathBuf,
    /// Every pin directory of an agent under /sys/fs/bpf that no agent holds, instead of one
    #[arg(long, conflicts_with = "pin_path")]
    all: bool,
}

pub(super) fn run(arguments: &CleanupArgs) -> anyhow::Result<ExitCode> {
    if !arguments.all {
        clean(&PinDir::new(&arguments.pin_path))?;
        return Ok(ExitCode::SUCCESS);
    }
    let found = PinDir::all()?;
    if found.is_empty() {
        println!("no agent's pins stand under /sys/fs/bpf");
    }
    let mut code = ExitCode::SUCCESS;
    for pins in found {
        match clean(&pins) {
            Err(error) if matches!(error.downcast_ref(), Some(PinDirError::Locked { .. })) => {
                println!("left alone: {error}");
            }
            Err(error) => {
                eprintln!("{error:#}");
                code = ExitCode::FAILURE;
            }
            Ok(()) => {}
        }
    }
    Ok(code)
}

/// Removes everything of a pin directory.
fn clean(pins: &PinDir) -> anyhow::Result<()> {
    let Some(pins) = pins.lock_for_removal()? else {
        println!("nothing stands at {}", pins.path().display());
        return Ok(());
    };
    // How programs were attached does not matter for taking them off.
    let attacher = Attacher::new(pins.clone(), Mechanism::Clsact);
    let with_filters = attacher.filters()?;
    for (ifindex, hook) in attacher.records()? {
        attacher
            .detach(ifindex, hook)
            .with_context(|| format!("taking {} off interface {ifindex}", hook.program()))?;
        let name = interface_name(ifindex).unwrap_or_else(|| "which is gone".into());
        println!("took {} off interface {ifindex} ({name})", hook.program());
    }
    for ifindex in with_filters {
        let is_removed = attacher
            .remove_unused_qdisc(ifindex)
            .with_context(|| format!("removing the clsact qdisc of interface {ifindex}"))?;
        if is_removed {
            println!("removed the clsact qdisc of interface {ifindex}");
        }
    }
    let maps = pins.remove_all()?;
    if !maps.is_empty() {
        println!("removed the maps {}", maps.join(" "));
    }
    println!("removed {}", pins.path().display());
    Ok(())
}
