//! Who comes after an agent that still runs: at an update the next one is there before the last one ends.
//!
//! Invariant: nothing of the one before is touched until the pin directory is this process's own. What can be tried
//! out without it is tried while the one before enforces.

use std::{path::Path, thread, time::Duration};

use tokio::sync::oneshot;

use super::{AgentError, AgentOptions, alone};
use crate::datapath::{LoadOptions, Loaded, Mechanism, PinDirError, Pins};

/// How often it is looked whether the agent before has ended.
const LOOK: Duration = Duration::from_millis(100);

/// Locks the pin directory: at once or, if that is wanted, when the agent that has it has ended. `None`: told
/// to end before.
///
/// # Errors
/// Another agent enforces here and is not waited for, the directory cannot be used, or what would take its place
/// cannot be loaded.
pub(super) async fn lock(
    options: &AgentOptions,
    mut shutdown: impl Future<Output = ()> + Unpin,
) -> Result<Option<Pins>, AgentError> {
    let path = options.pins.path();
    // The filters of two agents would have one place.
    let may_be_second = options.allow_second && options.attach.mechanism() == Mechanism::Tcx;
    let mut is_claimed = false;
    let mut trial: Option<oneshot::Receiver<Result<(), AgentError>>> = None;
    loop {
        let taken = match is_claimed {
            false => alone::claim(path, may_be_second),
            true => Ok(()),
        };
        is_claimed = taken.is_ok();
        let refusal = match taken.and_then(|()| Ok(options.pins.lock()?)) {
            Ok(pins) => return Ok(Some(pins)),
            Err(refusal) => refusal,
        };
        let is_before = match &refusal {
            // One that ends at this moment may have no time to say which it was; waiting touches nothing.
            AgentError::SecondAgent { pin_path, .. } => {
                pin_path == path || pin_path == Path::new(alone::UNKNOWN)
            }
            AgentError::Pins(PinDirError::Locked { .. }) => true,
            _ => false,
        };
        if !options.wait || !is_before {
            return Err(refusal);
        }
        let trial = match &mut trial {
            Some(trial) => trial,
            none => {
                tracing::info!(
                    pin_path = %path.display(),
                    "another agent enforces from this pin directory: going on for it when it ends"
                );
                none.insert(try_out(options)?)
            }
        };
        tokio::select! {
            () = &mut shutdown => return Ok(None),
            // One that never came is as good as one that went well: the start says what is wrong.
            Ok(outcome) = &mut *trial, if !trial.is_terminated() => outcome?,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Loads what would be in force, for this process alone, and lets it go: what cannot be loaded is no reason to end
/// the one before.
fn try_out(
    options: &AgentOptions,
) -> Result<oneshot::Receiver<Result<(), AgentError>>, AgentError> {
    let (config, sizes) = (options.config, options.sizes);
    let (sender, outcome) = oneshot::channel();
    let load = move || -> Result<(), AgentError> {
        let embedded = LoadOptions::embedded()?;
        Loaded::load(&LoadOptions {
            config,
            sizes,
            ..embedded
        })?;
        Ok(())
    };
    thread::Builder::new()
        .name("trial".into())
        // Whoever waits may have gone on or ended.
        .spawn(move || drop(sender.send(load())))
        .map_err(AgentError::Thread)?;
    Ok(outcome)
}
