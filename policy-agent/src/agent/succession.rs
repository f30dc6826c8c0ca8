//! Who comes after an agent that still runs: at an update the next one is there before the last one ends.
//!
//! Invariant: nothing is touched before the pin directory is this process's own.

use std::{path::Path, time::Duration};

use super::{AgentError, AgentOptions, alone};
use crate::datapath::{Mechanism, PinDirError, Pins};

/// How often it is looked whether the agent before has ended.
const LOOK: Duration = Duration::from_millis(100);

/// Locks the pin directory: at once or, if that is wanted, when the agent that has it has ended. `None`: told
/// to end before.
///
/// # Errors
/// Another agent enforces here and is not waited for, or the directory cannot be used.
pub(super) async fn lock(
    options: &AgentOptions,
    mut shutdown: impl Future<Output = ()> + Unpin,
) -> Result<Option<Pins>, AgentError> {
    let path = options.pins.path();
    // The filters of two agents would have one place.
    let may_be_second = options.allow_second && options.attach.mechanism() == Mechanism::Tcx;
    let (mut is_claimed, mut is_said) = (false, false);
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
        if !is_said {
            is_said = true;
            tracing::info!(
                pin_path = %path.display(),
                "another agent enforces from this pin directory: going on for it when it ends"
            );
        }
        tokio::select! {
            () = &mut shutdown => return Ok(None),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
