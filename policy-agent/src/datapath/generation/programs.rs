//! The programs of a generation: runs without an interface, descriptors, second copies.

use std::os::fd::{AsFd as _, OwnedFd};

use super::{
    super::{
        hooks::{AttachError, Hook, Programs},
        kernel::{
            part::{self, PartError},
            test_run::{self, TestOrigin, TestOutcome},
        },
    },
    Datapath,
    load::{self, LoadError},
};

impl Datapath {
    /// Runs a program (a name of `policy_common::names`) on a packet that begins with its
    /// Ethernet header. Meaningful only for an object loaded with `Config::test_seam`.
    ///
    /// # Errors
    /// There is no such program, or the kernel refuses the packet (shorter than an Ethernet
    /// header, longer than a page allows).
    pub fn test_run(
        &mut self,
        program: &'static str,
        packet: &[u8],
        origin: TestOrigin,
    ) -> Result<TestOutcome, PartError> {
        test_run::run(part::classifier(&mut self.ebpf, program)?, packet, origin).map_err(
            |source| PartError::Program {
                name: program,
                source,
            },
        )
    }

    /// A descriptor of a program (a name of `policy_common::names`): for test runs with other
    /// options, and for what the kernel says of the program.
    ///
    /// # Errors
    /// There is no such program, or it is not loaded, or the process has no descriptors left.
    pub fn program(&mut self, name: &'static str) -> Result<OwnedFd, PartError> {
        let failed = |source| PartError::Program { name, source };
        let program = part::classifier(&mut self.ebpf, name)?
            .fd()
            .map_err(failed)?;
        program
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| failed(error.into()))
    }

    /// Handles of the programs, for attaching on whatever thread.
    ///
    /// # Errors
    /// The object lacks a program, or the process has no descriptors left.
    pub fn programs(&mut self) -> Result<Programs, AttachError> {
        let mut programs = Programs::default();
        for hook in Hook::ALL {
            if self.ebpf.program(hook.program()).is_some() {
                programs.add(hook, part::classifier(&mut self.ebpf, hook.program())?)?;
            }
        }
        Ok(programs)
    }

    /// A second copy of a hook's program over the same maps, for [`Programs::extend`]: a hook
    /// refuses one program twice, so a program moves ahead of others only with a twin's help.
    ///
    /// # Errors
    /// This generation is not pinned, or the kernel's reason.
    pub fn twin(&mut self, hook: Hook) -> Result<Programs, AttachError> {
        let pins = self.pins.as_ref().ok_or(LoadError::Unpinned)?;
        let twin = load::twin(&self.object, self.config, pins, hook.program());
        // The loader clears the global that the programs share; until it is restored they
        // remember nothing.
        self.tables.restore_control().map_err(LoadError::Table)?;
        let mut twin = twin?;
        let mut programs = Programs::default();
        programs.add(hook, part::classifier(&mut twin, hook.program())?)?;
        Ok(programs)
    }
}
