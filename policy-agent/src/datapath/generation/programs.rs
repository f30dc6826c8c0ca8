//! The programs of a generation: runs without an interface, descriptors, second copies.

use std::os::fd::{AsFd as _, OwnedFd};

use aya::Ebpf;

use super::{
    super::kernel::{
        part::{self, PartError},
        test_run::{self, TestOrigin, TestOutcome},
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

    /// A second copy of a program over the same maps.
    pub(in crate::datapath) fn twin(&mut self, name: &'static str) -> Result<&mut Ebpf, LoadError> {
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
            .ok_or(PartError::MissingProgram { name }.into())
    }
}
