//! Puts programs back where they belong: before all others.
//!
//! Owns moving ahead without leaving the hook bare: the program is added again in front and the old
//! place is given up afterwards. Must not know how others' programs are found.

use super::{
    super::{generation::Datapath, kernel::part},
    attach::{Attacher, Mechanism, record},
    clsact,
    error::{AttachError, interface, program_id},
    hook::{Hook, Interface},
    tcx,
};

impl Datapath {
    /// The kernel's ids under which this generation's program may be attached.
    ///
    /// # Errors
    /// The object has no such program.
    pub fn program_ids(&mut self, hook: Hook) -> Result<Vec<u32>, AttachError> {
        let name = hook.program();
        let mut ids = vec![program_id(part::classifier(&mut self.ebpf, name)?, hook)?];
        if let Some(twin) = self.twins.get_mut(name) {
            ids.push(program_id(part::classifier(twin, name)?, hook)?);
        }
        Ok(ids)
    }
}

impl Attacher {
    /// Moves the program, which stands behind others, to the front of its chain. Enforcement is not
    /// interrupted.
    ///
    /// # Errors
    /// The kernel's reason; the program then stands where it stood.
    pub fn move_first(
        &self,
        datapath: &mut Datapath,
        index: u32,
        hook: Hook,
    ) -> Result<(), AttachError> {
        let interface = interface(index)?;
        match self.mechanism {
            Mechanism::Tcx => self.move_link(datapath, &interface, hook),
            Mechanism::Clsact => {
                let program = part::classifier(&mut datapath.ebpf, hook.program())?;
                clsact::move_first(program, &interface, hook)
            }
        }
    }

    /// One hook refuses one program twice: a twin of it goes to the front, and the old link ends.
    fn move_link(
        &self,
        datapath: &mut Datapath,
        interface: &Interface,
        hook: Hook,
    ) -> Result<(), AttachError> {
        let attached = tcx::programs(interface, hook)?;
        let own = part::classifier(&mut datapath.ebpf, hook.program())?;
        let program = if attached.contains(&program_id(own, hook)?) {
            part::classifier(datapath.twin(hook.program())?, hook.program())?
        } else {
            part::classifier(&mut datapath.ebpf, hook.program())?
        };
        let fresh = self.pins.next().join(record(interface.index, hook));
        tcx::remove(&fresh)?;
        tcx::attach_first(program, interface, hook, &fresh)?;
        tcx::replace(&fresh, &self.link_pin(interface.index, hook)).map_err(Into::into)
    }
}
