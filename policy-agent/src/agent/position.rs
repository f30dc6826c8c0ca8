//! Watches over the place of our programs among those of others.

use std::time::{Duration, Instant};

use super::{Agent, endpoints::causes};
use crate::datapath::{
    AttachError, Hook, Mechanism,
    chain::{self, Attachment, Entry},
};

/// How long a program rests between two moves.
const REST: Duration = Duration::from_secs(1);

impl Agent {
    /// Looks at every interface whose chain may have changed, and puts right what is not.
    pub(super) fn verify_positions(&mut self) {
        for ifindex in std::mem::take(&mut self.verify) {
            for hook in Hook::ALL {
                if self.attached.contains(&(ifindex, hook))
                    && let Err(error) = self.verify_position(ifindex, hook)
                {
                    self.not_enforced(ifindex, causes(&error));
                }
            }
            // What could not be attached before is tried again.
            self.attach(ifindex);
        }
    }

    fn verify_position(&mut self, ifindex: u32, hook: Hook) -> Result<(), AttachError> {
        let ours = self.datapath.programs.ids(hook.program());
        let chain = match chain::chain(ifindex, hook.direction()) {
            Ok(chain) => chain,
            Err(error) => {
                tracing::warn!("interface {}: {}", self.name(ifindex), causes(&error));
                return Ok(());
            }
        };
        let tcx = self.attacher.mechanism() == Mechanism::Tcx;
        let place = chain.entries.iter().position(|entry| {
            entry.prog_id.is_some_and(|id| ours.contains(&id))
                && tcx == (entry.attachment == Attachment::Tcx)
        });
        let name = self.name(ifindex);
        match place {
            Some(0) => Ok(()),
            Some(place) => {
                let before = &chain.entries[..place];
                let names: Vec<_> = before.iter().map(|entry| entry.name.as_str()).collect();
                let names = names.join(", ");
                if before.iter().any(has_no_preference) {
                    let reason = format!(
                        "{} stands behind {names}, which has no preference: remove that filter",
                        hook.program()
                    );
                    self.not_enforced(ifindex, reason);
                    return Ok(());
                }
                // Somebody who does the same would otherwise be fought at full speed.
                let last = self.moves.insert((ifindex, hook), Instant::now());
                if last.is_some_and(|last| last.elapsed() < REST) {
                    self.verify.insert(ifindex);
                    self.moves.extend(last.map(|last| ((ifindex, hook), last)));
                    return Ok(());
                }
                tracing::error!(
                    interface = name,
                    program = hook.program(),
                    "stood behind {names}: moving to the front"
                );
                self.attacher
                    .move_first(&mut self.datapath.programs, ifindex, hook)
            }
            None => {
                tracing::error!(
                    interface = name,
                    program = hook.program(),
                    "was removed by somebody: attaching again"
                );
                self.attached.remove(&(ifindex, hook));
                self.attach_one(ifindex, hook);
                Ok(())
            }
        }
    }
}

/// Old kernels give preference 0 to a filter that is added without one when 1 is taken; nothing can
/// be put before it.
fn has_no_preference(entry: &Entry) -> bool {
    matches!(entry.attachment, Attachment::Clsact { preference: 0, .. })
}
