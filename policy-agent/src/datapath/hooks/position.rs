//! Puts programs back where they belong: before all others.
//!
//! Owns moving ahead without leaving the hook bare: the program is added again in front and the old
//! place is given up afterwards. Must not know how others' programs are found.

use super::{
    super::generation::Programs,
    attach::{Attacher, Mechanism, record},
    clsact,
    error::{AttachError, interface},
    hook::{Hook, Interface},
    tcx,
};

impl Attacher {
    /// Moves the program, which stands behind others, to the front of its chain. Enforcement is not
    /// interrupted.
    ///
    /// # Errors
    /// The kernel's reason; the program then stands where it stood.
    pub fn move_first(
        &self,
        programs: &mut Programs,
        index: u32,
        hook: Hook,
    ) -> Result<(), AttachError> {
        let interface = interface(index)?;
        match self.mechanism {
            Mechanism::Tcx => self.move_link(programs, &interface, hook),
            Mechanism::Clsact => {
                let program = programs.classifier(hook.program())?;
                clsact::move_first(program, &interface, hook)
            }
        }
    }

    /// One hook refuses one program twice: a twin of it goes to the front, and the old link ends.
    fn move_link(
        &self,
        programs: &mut Programs,
        interface: &Interface,
        hook: Hook,
    ) -> Result<(), AttachError> {
        let attached = tcx::programs(interface, hook)?;
        let own = programs.ids(hook.program()).first();
        let fresh = self.pins.moving(&record(interface.index, hook));
        tcx::remove(&fresh)?;
        let program = if own.is_some_and(|own| attached.contains(own)) {
            programs.twin(hook.program(), &fresh)?
        } else {
            programs.classifier(hook.program())?
        };
        tcx::attach_first(program, interface, hook, &fresh)?;
        tcx::replace(&fresh, &self.link_pin(interface.index, hook)).map_err(Into::into)
    }
}
