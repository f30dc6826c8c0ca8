//! Filters that bridge the wait for links.
//!
//! The kernel takes a grace period to make a TCX link, and hardly any time to add a clsact filter: at a
//! first start filters stand at once, and links take over from them one by one. Owns both ends of that.
//! Invariant: at every moment a packet meets one of the two, and only one: the link that takes over is
//! of a program that ends the chain, until the filter behind it is gone and the link is given the
//! program that stays. So this is only done where nobody else has a program on the hook.

use super::{
    super::generation::Programs,
    attach::{Attacher, Mechanism},
    chain::{self, Attachment},
    clsact,
    error::{AttachError, interface},
    hook::{Hook, Interface},
    observe::{self, Place},
    tcx,
};

impl Attacher {
    /// Puts a filter on the hook that stands there until the link does, and says the kernel's id of
    /// its program; `None` where a filter cannot stand in for the link: because somebody else has a
    /// program there, or because this generation was loaded without
    /// [`LoadOptions::stand_ins`](super::super::LoadOptions::stand_ins).
    ///
    /// # Errors
    /// The interface is gone, or the kernel's reason. No filter stands there then.
    pub fn bridge(
        &self,
        programs: &mut Programs,
        index: u32,
        hook: Hook,
    ) -> Result<Option<u32>, AttachError> {
        let Some(last) = hook.last().filter(|_| self.mechanism == Mechanism::Tcx) else {
            return Ok(None);
        };
        // What takes over has to be there before what is to give way.
        if programs.loaded(last).is_none() {
            return Ok(None);
        }
        let interface = interface(index)?;
        if !self.link_pin(index, hook).exists() && is_alone(index, hook)? {
            let program = programs.classifier(hook.program())?;
            let pin = self.filter_pin(index, hook);
            clsact::attach(program, &interface, hook, &pin)?;
            let chain = chain::chain(index, hook.direction())?;
            let is_ours = |id| programs.ids(hook.program()).contains(&id);
            match observe::place(&chain, Mechanism::Clsact, is_ours) {
                Place::First { prog_id } => return Ok(Some(prog_id)),
                Place::Behind { .. } | Place::Missing => self.remove_filter(&interface, hook)?,
            }
        }
        Ok(None)
    }

    /// Where a filter of ours stands and no link does: puts a link before it whose program ends the
    /// chain, and takes the filter off. Where the link would keep others' programs from running it
    /// does nothing: there a packet meets link and filter for a moment.
    pub(super) fn relieve(
        &self,
        programs: &mut Programs,
        interface: &Interface,
        hook: Hook,
    ) -> Result<(), AttachError> {
        let index = interface.index;
        let pin = self.link_pin(index, hook);
        if !self.filter_pin(index, hook).exists() || pin.exists() {
            return Ok(());
        }
        let Some(last) = hook.last().and_then(|name| programs.loaded(name)) else {
            return Ok(());
        };
        if !is_alone(index, hook)? {
            return Ok(());
        }
        tcx::attach_first(last, interface, hook, &pin)?;
        self.remove_filter(interface, hook)
    }
}

/// Whether nobody but us has a program on the hook, and we have no link.
fn is_alone(index: u32, hook: Hook) -> Result<bool, AttachError> {
    let chain = chain::chain(index, hook.direction())?;
    let attachments = chain.entries.iter().map(|entry| entry.attachment);
    Ok(attachments
        .into_iter()
        .all(|one| one != Attachment::Tcx && clsact::is_ours(one)))
}
