//! Puts programs back where they belong: before all others.
//!
//! Owns moving ahead without leaving the hook bare: the program is added again in front and the old
//! place is given up afterwards. Must not know how others' programs are found.

use aya::Ebpf;

use super::{
    Datapath, LoadError,
    attach::{AttachError, Attacher, Hook, Interface, Mechanism, program_id, record},
    clsact, load, tcx,
};

impl Datapath {
    /// The kernel's ids under which this generation's program may be attached.
    ///
    /// # Errors
    /// The object has no such program.
    pub fn program_ids(&mut self, hook: Hook) -> Result<Vec<u32>, AttachError> {
        let name = hook.program();
        let mut ids = vec![program_id(load::classifier(&mut self.ebpf, name)?, hook)?];
        if let Some(twin) = self.twins.get_mut(name) {
            ids.push(program_id(load::classifier(twin, name)?, hook)?);
        }
        Ok(ids)
    }

    /// A second copy of a program over the same maps.
    fn twin(&mut self, hook: Hook) -> Result<&mut Ebpf, LoadError> {
        let name = hook.program();
        if !self.twins.contains_key(name) {
            let pins = self.pins.as_ref().ok_or(LoadError::Unpinned)?;
            let twin = load::twin(&self.object, self.config, pins, name);
            // The loader clears the global that the programs share; until it is restored they
            // remember nothing.
            self.tables.restore_control()?;
            let twin = twin?;
            self.twins.insert(name, twin);
        }
        self.twins
            .get_mut(name)
            .ok_or(LoadError::MissingProgram { name })
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
        let interface = Interface::current(index)?;
        match self.mechanism {
            Mechanism::Tcx => self.move_link(datapath, &interface, hook),
            Mechanism::Clsact => {
                let program = load::classifier(&mut datapath.ebpf, hook.program())?;
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
        let own = load::classifier(&mut datapath.ebpf, hook.program())?;
        let program = if attached.contains(&program_id(own, hook)?) {
            load::classifier(datapath.twin(hook)?, hook.program())?
        } else {
            load::classifier(&mut datapath.ebpf, hook.program())?
        };
        let fresh = self.pins.next().join(record(interface.index, hook));
        tcx::remove(&fresh)?;
        tcx::attach_first(program, interface, hook, &fresh)?;
        tcx::replace(&fresh, &self.link_pin(interface.index, hook)).map_err(Into::into)
    }
}
