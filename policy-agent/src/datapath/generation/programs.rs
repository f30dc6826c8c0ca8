//! The programs of a generation: to be attached, to be run without an interface.
//!
//! Must not know tables or where programs are attached. Nothing here needs the writer of the tables:
//! the two may live in different threads.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use aya::{
    Ebpf,
    programs::{ProgramError, SchedClassifier},
};

use super::super::{
    hooks::Hook,
    kernel::{
        part::{self, PartError},
        sys,
        test_run::{self, TestOrigin, TestOutcome},
    },
};

/// The loaded programs.
pub struct Programs {
    /// Keeps the maps open that a second copy needs.
    ebpf: Ebpf,
    /// The first copies of programs of which there is a second; the second stands in `ebpf`.
    first: BTreeMap<&'static str, SchedClassifier>,
    /// What the kernel calls them, the first copy first.
    ids: BTreeMap<&'static str, Vec<u32>>,
}

impl Programs {
    /// The loaded programs of an object.
    pub(crate) fn new(mut ebpf: Ebpf) -> Result<Self, PartError> {
        let mut ids = BTreeMap::new();
        for name in Hook::ALL.map(Hook::program) {
            if ebpf.program(name).is_some() {
                let program = part::classifier(&mut ebpf, name)?;
                ids.insert(name, vec![id(program, name)?]);
            }
        }
        Ok(Self {
            ebpf,
            first: BTreeMap::new(),
            ids,
        })
    }

    /// The object, with its maps.
    pub(crate) fn object(&self) -> &Ebpf {
        &self.ebpf
    }

    /// The kernel's ids under which a program (a name of `policy_common::names`) may be attached;
    /// none when the object has no such program.
    pub fn ids(&self, name: &str) -> &[u32] {
        self.ids.get(name).map_or(&[], Vec::as_slice)
    }

    /// A program (a name of `policy_common::names`).
    pub(in crate::datapath) fn classifier(
        &mut self,
        name: &'static str,
    ) -> Result<&mut SchedClassifier, PartError> {
        match self.first.get_mut(name) {
            Some(program) => Ok(program),
            None => part::classifier(&mut self.ebpf, name),
        }
    }

    /// A program that not every generation has loaded; `None` when this one has not.
    pub(in crate::datapath) fn loaded(
        &mut self,
        name: &'static str,
    ) -> Option<&mut SchedClassifier> {
        let program = part::classifier(&mut self.ebpf, name).ok()?;
        program.fd().is_ok().then_some(program)
    }

    /// A second copy of a program over the same maps: a kernel refuses one program twice on one
    /// hook, so a program moves ahead of others only with the help of its twin. `passage` is a path on
    /// the BPF file system where nothing is, and nothing stays.
    pub(in crate::datapath) fn twin(
        &mut self,
        name: &'static str,
        passage: &Path,
    ) -> Result<&mut SchedClassifier, PartError> {
        let failed = |source| PartError::Program { name, source };
        let program = part::classifier(&mut self.ebpf, name)?;
        if !self.first.contains_key(name) {
            let first = another(program, passage).map_err(failed)?;
            self.first.insert(name, first);
            program.unload().map_err(failed)?;
        }
        if program.fd().is_err() {
            program.load().map_err(failed)?;
            let second = id(program, name)?;
            self.ids.entry(name).or_default().push(second);
        }
        Ok(program)
    }

    /// Runs a program (a name of `policy_common::names`) on a packet that begins with its
    /// Ethernet header. Meaningful only for an object loaded with `Config::test_seam`.
    ///
    /// # Errors
    /// There is no such program, or the kernel refuses the packet (shorter than an Ethernet
    /// header, longer than a page allows).
    pub fn test_run(
        &mut self,
        name: &'static str,
        packet: &[u8],
        origin: TestOrigin,
    ) -> Result<TestOutcome, PartError> {
        test_run::run(self.classifier(name)?, packet, origin)
            .map_err(|source| PartError::Program { name, source })
    }

    /// A descriptor of a program (a name of `policy_common::names`): for test runs with other
    /// options, and for what the kernel says of the program.
    ///
    /// # Errors
    /// There is no such program, or it is not loaded, or the process has no descriptors left.
    pub fn descriptor(&mut self, name: &'static str) -> Result<OwnedFd, PartError> {
        let failed = |source| PartError::Program { name, source };
        let program = self.classifier(name)?.fd().map_err(failed)?;
        program
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| failed(error.into()))
    }
}

/// Another handle of a program. By its number only `CAP_SYS_ADMIN` may have one, by a pin everybody.
fn another(program: &SchedClassifier, passage: &Path) -> Result<SchedClassifier, ProgramError> {
    let descriptor = program.fd()?.as_fd().try_clone_to_owned()?;
    sys::pin(&descriptor, passage)?;
    let another = SchedClassifier::from_pin(passage);
    fs::remove_file(passage)?;
    another
}

fn id(program: &SchedClassifier, name: &'static str) -> Result<u32, PartError> {
    program
        .info()
        .map(|info| info.id())
        .map_err(|source| PartError::Program { name, source })
}
