//! `policy-agent cleanup`: takes everything out of the kernel.

use std::{
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    datapath::{
        Attacher, DEFAULT_PIN_PATH, DEFAULT_RUN_DIR, Mechanism, PinDir, PinDirError, Pins,
        interface_name,
    },
    text::Printable,
};

/// How long an agent that was told to end may take to let go of its directory.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(50);

/// Ends enforcement: removes every program, link, filter, map and pin of a pin directory
///
/// Leaves clsact qdiscs that others use, and says what it removed. Does nothing when there is nothing.
/// Must run in the network namespace in which the agent ran; waits two seconds for an agent that is about
/// to end, and refuses while one runs.
#[derive(Debug, clap::Args)]
pub(super) struct CleanupArgs {
    /// The pin directory of the agent
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_PATH)]
    pin_path: PathBuf,
    /// The directory of its control socket
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUN_DIR)]
    run_dir: PathBuf,
    /// Every pin directory of an agent under /sys/fs/bpf that no agent holds, instead of one
    #[arg(long, conflicts_with = "pin_path")]
    all: bool,
}

pub(super) fn run(arguments: &CleanupArgs) -> anyhow::Result<ExitCode> {
    let patience = Instant::now() + PATIENCE;
    if !arguments.all {
        let pins = PinDir::new(&arguments.pin_path).with_run_dir(&arguments.run_dir);
        clean(&pins, patience)?;
        return Ok(ExitCode::SUCCESS);
    }
    let found = PinDir::all()?;
    if found.is_empty() {
        println!("no agent's pins stand under /sys/fs/bpf");
    }
    let mut code = ExitCode::SUCCESS;
    for pins in found {
        match clean(&pins.with_run_dir(&arguments.run_dir), patience) {
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

/// Removes everything of a pin directory, whose agent has until then to let go of it.
fn clean(pins: &PinDir, patience: Instant) -> anyhow::Result<()> {
    let Some(pins) = lock(pins, patience)? else {
        println!("nothing stands at {}", pins.path().display());
        return Ok(());
    };
    // How programs were attached does not matter for taking them off.
    let attacher = Attacher::new(pins.clone(), Mechanism::Clsact);
    let with_filters = attacher.filters()?;
    for (ifindex, hook) in attacher.records()? {
        let (program, interface) = (hook.program(), shown(ifindex));
        attacher
            .detach(ifindex, hook)
            .with_context(|| format!("taking {program} off {interface}"))?;
        println!("took {program} off {interface}");
    }
    for ifindex in with_filters {
        let interface = shown(ifindex);
        let is_removed = attacher
            .remove_unused_qdisc(ifindex)
            .with_context(|| format!("removing the clsact qdisc of {interface}"))?;
        if is_removed {
            println!("removed the clsact qdisc of {interface}");
        }
    }
    let maps = pins.remove_all()?;
    if !maps.is_empty() {
        println!("removed the maps {}", maps.join(" "));
    }
    println!("removed {}", pins.path().display());
    Ok(())
}

/// Takes the lock, as soon as whoever has it lets go.
fn lock(pins: &PinDir, patience: Instant) -> Result<Option<Pins>, PinDirError> {
    loop {
        match pins.lock_for_removal() {
            Err(PinDirError::Locked { .. }) if Instant::now() < patience => thread::sleep(LOOK),
            taken => return taken,
        }
    }
}

/// An interface, for people. Nobody remembers the name of one that is gone.
fn shown(ifindex: u32) -> String {
    match interface_name(ifindex) {
        Some(name) => format!("interface {ifindex} ({})", Printable(name)),
        None => format!("an interface that is gone (index {ifindex})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_its_name_or_is_said_to_be_gone() {
        assert_eq!(shown(1), "interface 1 (lo)");
        assert!(shown(i32::MAX.cast_unsigned()).contains("is gone"));
    }

    #[test]
    fn an_agent_that_ends_is_waited_for_and_one_that_runs_on_is_not_touched() {
        let pins = PinDir::new(format!("/sys/fs/bpf/cleanup-test-{}", std::process::id()));
        let held = pins.lock().unwrap();
        let refused = lock(&pins, Instant::now() + 2 * LOOK);
        assert!(matches!(refused, Err(PinDirError::Locked { .. })));
        let ending = thread::spawn(move || {
            thread::sleep(4 * LOOK);
            drop(held);
        });
        clean(&pins, Instant::now() + Duration::from_secs(20)).unwrap();
        ending.join().unwrap();
        assert!(!pins.path().exists());
    }
}
